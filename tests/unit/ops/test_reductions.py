"""Sums and means: digits over millions of numbers, axes, dtypes, derivatives."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose

import lucid_fn as lf
from lucid_fn import ops
from lucid_fn.numerics import total

HALF = [mx.float16, mx.bfloat16]


@pytest.mark.parametrize("n", [63, 64, 65, 128, 129, 1000, 4099, 65_537, 3_000_001])
@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.77, 1.0001, -3e-5])
def test_equal_numbers_the_worst_case_keep_their_digits(n, value):
    x = mx.full((n,), value)
    exact = float(np.float32(value))
    assert ops.sum(x).item() == pytest.approx(n * exact, rel=1e-6)
    assert ops.mean(x).item() == pytest.approx(exact, rel=1e-6)
    assert total(x).item() == pytest.approx(n * exact, rel=1e-6)


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1), (0, 2), (1, 2), (2, 0)])
def test_each_axis_of_a_batch_of_images_keeps_its_digits(axis):
    x = np.random.default_rng(0).random((301, 257, 129), np.float32)
    exact = x.sum(axis=axis, dtype=np.float64)
    found = np.array(ops.sum(mx.array(x), axis=axis))
    assert_allclose(found, exact, rtol=1e-6)
    found = np.array(ops.mean(mx.array(x), axis=axis))
    assert_allclose(found, x.mean(axis, np.float64), rtol=1e-6)


shapes = st.lists(st.integers(0, 12), max_size=4).map(tuple)


@settings(max_examples=60)
@given(shape=shapes, data=st.data())
def test_shapes_are_those_of_numpy(shape, data):
    axes = [*range(-len(shape), len(shape))]
    axis = data.draw(st.none() | (st.sampled_from(axes) if axes else st.none()))
    keepdims = data.draw(st.booleans())
    x = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) % 7
    found = ops.sum(mx.array(x), axis=axis, keepdims=keepdims)
    expected = x.sum(axis=axis, keepdims=keepdims)
    assert found.shape == np.shape(expected)
    assert_allclose(np.array(found), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", HALF)
def test_half_precision_is_accumulated_in_float32(dtype):
    x = mx.full((100_000,), 300.0, dtype)
    assert ops.mean(x).item() == 300
    assert ops.mean(x).dtype == dtype
    ones = mx.ones((4096,), dtype)
    assert ops.sum(ones).item() == 4096
    assert ops.sum(ones).dtype == dtype


def test_integers_and_bools():
    x = mx.array([[True, False], [True, True]])
    assert (ops.sum(x).item(), ops.mean(x).item()) == (3, 0.75)
    assert ops.mean(mx.array([1, 2], mx.uint8)).dtype == mx.float32
    assert ops.sum(mx.full((2**25 + 1,), 1, mx.int32)).item() == 2**25 + 1


def test_nothing_sums_to_zero_and_has_no_mean():
    assert ops.sum(mx.zeros((0, 3)), axis=0).tolist() == [0, 0, 0]
    for dtype in (mx.float32, mx.float16, mx.int32):  # mx.sum reads stray memory there
        for _ in range(5):
            assert ops.sum(mx.full((0, 1, 2, 0), 1, dtype)).item() == 0
    assert mx.isnan(ops.mean(mx.zeros((0,)))).item()


@pytest.mark.parametrize("bad", [mx.inf, -mx.inf, mx.nan])
def test_infinities_and_nan_go_through(bad):
    x = mx.zeros((1000,)).at[500].add(bad)
    assert_allclose(ops.sum(x), bad)


@pytest.mark.parametrize("n", [10, 1000])
def test_derivatives_of_every_kind(n):
    x = mx.random.normal((n,), key=mx.random.key(0))

    def mean(x):
        return ops.mean(x * x)

    assert_allclose(lf.grad(mean)(x), 2 * x / n, rtol=1e-6)
    assert_allclose(lf.jit(lf.grad(mean))(x), 2 * x / n, rtol=1e-6)
    value, tangent = lf.jvp(mean, (x,), (x,))
    assert_allclose(tangent, 2 * value, rtol=1e-6)
    assert_allclose(lf.hvp(mean, (x,), (x,))[0], 2 * x / n, rtol=1e-6)
    twice = lf.grad(lambda x: ops.sum(lf.grad(mean)(x) ** 2))(x)
    assert_allclose(twice, 8 * x / n**2, rtol=1e-5)
    pair = mx.stack([x, 2 * x])
    assert_allclose(lf.vmap(lf.grad(mean))(pair), 2 * pair / n, rtol=1e-6)
    assert_allclose(
        lf.grad(lambda p: lf.vmap(mean)(p).sum())(pair), 2 * pair / n, rtol=1e-6
    )


def test_messages():
    x = mx.zeros((2, 3))
    for axis in (2, -3, (0, 0), (0, -2)):
        with pytest.raises(ValueError, match="sum: axis must name axes of x, each onc"):
            ops.sum(x, axis=axis)
    with pytest.raises(TypeError, match="mean: x must be an MLX array, got list"):
        ops.mean([1.0, 2.0])
