"""Batch normalization: hand values, digits, dtypes, errors."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import ops

ONE, ZERO = mx.ones((1,)), mx.zeros((1,))


def test_each_channel_is_normalized_by_itself():
    x = mx.array([[1.0, 10.0], [3.0, 30.0]])
    y, mean, var = ops.batch_norm(x, mx.array([1.0, 2.0]), mx.array([0.0, 5.0]), eps=0)
    assert mean.tolist() == [2.0, 20.0]
    assert var.tolist() == [1.0, 100.0]
    assert y.tolist() == [[-1.0, 3.0], [1.0, 7.0]]


def test_statistics_of_millions_of_values_keep_their_digits():
    x = mx.random.normal((32, 256, 256, 1), key=mx.random.key(0)) + 1000
    _, mean, var = ops.batch_norm(x, ONE, ZERO, eps=1e-5)
    exact = np.array(x, np.float64)
    np.testing.assert_allclose(mean.item(), exact.mean(), rtol=1e-6)
    np.testing.assert_allclose(var.item(), exact.var(), rtol=1e-5)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_has_statistics_in_float32(dtype):
    x = (mx.random.normal((64, 16, 1), key=mx.random.key(0)) + 3).astype(dtype)
    y, mean, var = ops.batch_norm(x, ONE.astype(dtype), ZERO.astype(dtype), eps=1e-5)
    exact = np.array(x.astype(mx.float32), np.float64)
    assert (y.dtype, mean.dtype, var.dtype) == (dtype, mx.float32, mx.float32)
    np.testing.assert_allclose(mean.item(), exact.mean(), rtol=1e-6)
    np.testing.assert_allclose(var.item(), exact.var(), rtol=1e-5)


def test_given_statistics_are_used_in_evaluation():
    x = mx.array([[5.0], [1.0]])
    y = ops.batch_norm_eval(x, 2 * ONE, ONE, ONE, 4 * ONE, eps=0)
    assert y.flatten().tolist() == [5.0, 1.0]


def test_evaluation_keeps_the_dtype():
    x, one, zero = (array.astype(mx.bfloat16) for array in (mx.ones((2, 1)), ONE, ZERO))
    assert ops.batch_norm_eval(x, one, zero, ZERO, ONE, eps=1e-5).dtype == mx.bfloat16


@pytest.mark.parametrize(
    ("shape", "channels", "message"),
    [
        ((2, 3), 4, r"batch_norm: x must have shape \(..., 4\)"),
        ((4,), 4, r"at least one axis before the channels, got \(4,\)"),
    ],
)
def test_a_wrong_input_is_named(shape, channels, message):
    weight = mx.ones((channels,))
    with pytest.raises(ValueError, match=message):
        ops.batch_norm(mx.ones(shape), weight, weight, eps=1e-5)


@pytest.mark.parametrize("dtype", [mx.float16, mx.float32, mx.float64])
def test_statistics_of_no_values_are_nan_in_their_dtype(dtype):
    x, one, zero = (a.astype(dtype) for a in (mx.ones((0, 1)), ONE, ZERO))
    y, mean, var = ops.batch_norm(x, one, zero, eps=1e-5)
    wide = mx.float64 if dtype == mx.float64 else mx.float32
    assert (y.shape, y.dtype, mean.dtype, var.dtype) == ((0, 1), dtype, wide, wide)
    assert mx.isnan(mean).item() and mx.isnan(var).item()


def test_integers_are_refused():
    x, integers = mx.ones((3, 1)), mx.ones((3, 1), mx.int32)
    for arguments in [(integers, ONE, ZERO), (x, ONE, ZERO.astype(mx.int32))]:
        with pytest.raises(TypeError, match=r"batch_norm: .* of a float dtype"):
            ops.batch_norm(*arguments, eps=1e-5)
    with pytest.raises(TypeError, match="batch_norm_eval: var must be of a float"):
        ops.batch_norm_eval(x, ONE, ZERO, ZERO, ONE.astype(mx.int32), eps=1e-5)


def test_a_wrong_parameter_is_named():
    with pytest.raises(ValueError, match=r"batch_norm: bias must have shape \(2,\)"):
        ops.batch_norm(mx.ones((3, 2)), mx.ones((2,)), mx.ones((3,)), eps=1e-5)
    args = [mx.ones((2,))] * 3 + [mx.ones((1,))]
    with pytest.raises(
        ValueError, match=r"batch_norm_eval: var must have shape \(2,\)"
    ):
        ops.batch_norm_eval(mx.ones((3, 2)), *args, eps=1e-5)
