"""What docstrings of activations and softmax state, at the corners of each dtype."""

import contextlib
import math

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import ops

DTYPES = pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
FORMULATIONS = pytest.mark.parametrize(
    "formulation", [contextlib.nullcontext, ops.plain], ids=["tuned", "plain"]
)
inf = math.inf

RANGES = {
    "erf": (-1, 1),
    "exp": (0, inf),
    "hard_sigmoid": (0, 1),
    "hard_tanh": (-1, 1),
    "log_sigmoid": (-inf, 0),
    "relu": (0, inf),
    "relu6": (0, 6),
    "relu_squared": (0, inf),
    "sigmoid": (0, 1),
    "softplus": (0, inf),
    "step": (0, 1),
    "tanh": (-1, 1),
}
ALONG_AN_AXIS = {"softmax": (0, 1), "softmin": (0, 1), "log_softmax": (-inf, 0)}


def corners(dtype):
    """Numbers of every size, both signs, and the infinities."""
    info = mx.finfo(dtype)
    exponents = np.arange(-24 if dtype == mx.float16 else -126, math.log2(info.max))
    sizes = np.concatenate([2.0**exponents, [info.max, 0.0, inf, 1 + info.eps]])
    return mx.array(np.concatenate([sizes, -sizes]).astype(np.float32)).astype(dtype)


@FORMULATIONS
@DTYPES
@pytest.mark.parametrize("name", RANGES)
def test_values_are_in_the_range_that_is_stated(name, dtype, formulation):
    x = corners(dtype)
    low, high = RANGES[name]
    with formulation():
        y = getattr(ops, name)(x)
    assert y.dtype == dtype
    assert y.shape == x.shape
    assert mx.all((y >= low) & (y <= high))
    with formulation():
        assert getattr(ops, name)(x[:0]).shape == (0,)
        assert getattr(ops, name)(x[0]).shape == ()


@FORMULATIONS
@DTYPES
@pytest.mark.parametrize("columns", [1, 2, 7, 3000])
@pytest.mark.parametrize("name", ALONG_AN_AXIS)
def test_rows_are_in_the_range_that_is_stated(name, columns, dtype, formulation):
    finite = mx.array([v for v in corners(dtype).tolist() if math.isfinite(v)], dtype)
    x = mx.contiguous(mx.broadcast_to(finite[:, None], (finite.size, columns)))
    x = mx.concatenate([x, x[::-1]], axis=1)  # ties, and numbers far apart
    low, high = ALONG_AN_AXIS[name]
    with formulation():
        y = getattr(ops, name)(x)
    assert y.dtype == dtype
    assert mx.all((y >= low) & (y <= high))
    if name != "log_softmax":
        total = y.astype(mx.float32).sum(-1)
        assert mx.allclose(total, mx.array(1.0), atol=columns * mx.finfo(dtype).eps)


@FORMULATIONS
@pytest.mark.parametrize("rows", [1, 2000])
@pytest.mark.parametrize("name", ALONG_AN_AXIS)
def test_a_row_of_what_has_no_probability_is_nan(name, rows, formulation):
    none = inf if name == "softmin" else -inf
    x = mx.array([[none, none], [0.0, none]] * rows)
    with formulation():
        y = getattr(ops, name)(x)
    assert mx.all(mx.isnan(y[::2]))
    expected = [0.0, -inf] if name == "log_softmax" else [1.0, 0.0]
    assert y[1].tolist() == expected
    assert not mx.any(mx.isnan(y[1::2]))


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_has_an_empty_distribution(shape, axis):
    x = mx.zeros(shape)
    for name in ALONG_AN_AXIS:
        assert getattr(ops, name)(x, axis).shape == shape
    sums = ops.logsumexp(x, axis)
    assert sums.tolist() == np.logaddexp.reduce(np.zeros(shape), axis=axis).tolist()


@pytest.mark.parametrize(
    ("name", "most"), [("gelu_tanh", 5e-4), ("gelu_sigmoid", 0.0204)]
)
def test_approximations_of_gelu_are_as_close_as_they_state(name, most):
    x = mx.linspace(-8, 8, 4001)
    assert mx.max(mx.abs(getattr(ops, name)(x) - ops.gelu(x))).item() < most


def test_integers_beyond_the_digits_of_float32_are_kept():
    large = mx.array([2**24 + 1, -5], mx.int32)
    assert ops.relu(large).tolist() == [2**24 + 1, 0]
    assert ops.max_pool1d(large.reshape(1, 2, 1), 2).item() == 2**24 + 1
    assert ops.hard_tanh(large).tolist() == [1, -1]
