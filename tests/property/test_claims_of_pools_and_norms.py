"""What docstrings of pools and norms state, at the corners of each dtype."""

import contextlib
import math

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import nn, ops

DTYPES = pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
FORMULATIONS = pytest.mark.parametrize(
    "formulation", [contextlib.nullcontext, ops.plain], ids=["tuned", "plain"]
)
MAXIMA = {
    "max_pool2d": lambda x: ops.max_pool2d(x, 2),
    "adaptive_max_pool2d": lambda x: ops.adaptive_max_pool2d(x, (1, 2)),
    "global_max_pool2d": lambda x: nn.global_max_pool2d(x)[:, None, None],
}
MEANS = {
    "avg_pool2d": lambda x: ops.avg_pool2d(x, 64),
    "adaptive_avg_pool2d": lambda x: ops.adaptive_avg_pool2d(x, 1),
    "global_avg_pool2d": lambda x: ops.global_avg_pool2d(x)[:, None, None],
}


def image(values, dtype):
    return mx.array(values, mx.float32).astype(dtype)[None, ..., None]


@FORMULATIONS
@DTYPES
@pytest.mark.parametrize("name", MAXIMA)
def test_a_nan_wins_and_the_first_maximum_gets_the_gradient(name, dtype, formulation):
    pool = MAXIMA[name]
    with formulation():
        y = pool(image([[math.nan, math.inf], [1.0, 2.0]], dtype))
        assert (
            mx.all(mx.isnan(y))
            if name != "adaptive_max_pool2d"
            else mx.isnan(y[0, 0, 0])
        )
        tied = image([[3.0, 3.0], [3.0, 3.0]], dtype)
        (y,), (dx,) = mx.vjp(pool, [tied], [mx.ones(pool(tied).shape, dtype)])
    assert y.dtype == dx.dtype == dtype
    first = [[1, 1], [0, 0]] if name == "adaptive_max_pool2d" else [[1, 0], [0, 0]]
    assert dx.squeeze((0, 3)).tolist() == first


@FORMULATIONS
@DTYPES
@pytest.mark.parametrize("name", MAXIMA)
def test_a_window_of_minus_infinity_is_minus_infinity(name, dtype, formulation):
    with formulation():
        y = MAXIMA[name](mx.full((1, 2, 2, 3), -math.inf, dtype))
    assert mx.all(y == -math.inf)


@FORMULATIONS
@DTYPES
@pytest.mark.parametrize("name", MEANS)
def test_means_are_summed_in_float32(name, dtype, formulation):
    # In float16 the sum of these would be infinite, in bfloat16 stay at 256.
    with formulation():
        y = MEANS[name](mx.full((1, 64, 64, 2), 33.0, dtype))
    assert y.dtype == dtype
    assert mx.all(y == 33)


NORMS = {
    "layer_norm": lambda x: ops.layer_norm(x, ONE, ZERO, eps=1e-5),
    "group_norm": lambda x: ops.group_norm(x, ONE, ZERO, groups=1, eps=1e-5),
    "rms_norm": lambda x: ops.rms_norm(x, ONE, eps=1e-5),
    "batch_norm": lambda x: ops.batch_norm(x, ONE, ZERO, eps=1e-5)[0],
}
ONE, ZERO = mx.ones((4,)), mx.zeros((4,))


@FORMULATIONS
@pytest.mark.parametrize("name", NORMS)
def test_equal_numbers_are_normalized_to_nothing(name, formulation):
    for value in (0.0, 1.0, 2.0**24 + 2, -3e4):
        with formulation():
            y = NORMS[name](mx.full((8, 4), value))
        expected = value / math.sqrt(value**2 + 1e-5) if name == "rms_norm" else 0.0
        assert mx.allclose(y, mx.array(expected), atol=1e-5), value


@FORMULATIONS
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
@pytest.mark.parametrize("name", NORMS)
def test_squares_of_half_precision_do_not_overflow(name, dtype, formulation):
    x = mx.array([[300.0, -300.0, 600.0, -600.0]] * 3 + [[0.0] * 4], dtype)
    with formulation():
        y = NORMS[name](x)
        exact = NORMS[name](x.astype(mx.float32))
    assert mx.all(mx.isfinite(y))
    assert mx.allclose(y, exact, atol=1e-5)


@pytest.mark.parametrize("name", NORMS)
def test_float64_is_computed_in_float64(name):
    x = np.random.default_rng(0).normal(size=(6, 4)) + 1e6
    axis = 0 if name == "batch_norm" else -1
    mean = 0 if name == "rms_norm" else x.mean(axis, keepdims=True)
    square = ((x - mean) ** 2).mean(axis, keepdims=True)
    with mx.stream(mx.cpu):
        y = NORMS[name](mx.array(x, mx.float64))
        assert y.dtype == mx.float64
        found = np.array(y)
    np.testing.assert_allclose(found, (x - mean) / np.sqrt(square + 1e-5), atol=1e-8)
