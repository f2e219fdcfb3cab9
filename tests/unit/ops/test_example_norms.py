"""Norms of rows and of groups of channels: digits, dtypes, errors."""

import contextlib

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import ops

NORMS = {
    "layer_norm": lambda x, w, b: ops.layer_norm(x, w, b, eps=1e-5),
    "rms_norm": lambda x, w, b: ops.rms_norm(x, w, eps=1e-5),
    "group_norm": lambda x, w, b: ops.group_norm(x, w, b, groups=2, eps=1e-5),
}
norms = pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)


def far_from_zero(*shape):
    return np.random.default_rng(0).normal(1e3, 1, shape).astype(np.float32)


def standardized(x, axes):
    x = x.astype(np.float64)
    std = np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    return (x - x.mean(axes, keepdims=True)) / std


@pytest.mark.parametrize("columns", [256, 1009])
def test_rows_far_from_zero_keep_their_digits(columns):
    x = far_from_zero(64, columns)
    y = NORMS["layer_norm"](mx.array(x), mx.ones((columns,)), mx.zeros((columns,)))
    np.testing.assert_allclose(np.array(y), standardized(x, -1), atol=1e-5)


@pytest.mark.parametrize("places", [127 * 127, 128 * 128])
def test_groups_far_from_zero_keep_their_digits(places):
    x = far_from_zero(2, places, 4)
    y = NORMS["group_norm"](mx.array(x), mx.ones((4,)), mx.zeros((4,)))
    exact = standardized(x.reshape(2, places, 2, 2), (1, 3)).reshape(x.shape)
    np.testing.assert_allclose(np.array(y), exact, atol=1e-5)


@norms
def test_gradients_of_parameters_keep_their_digits_over_many_rows(norm):
    x = mx.random.normal((2, 65536, 4), key=mx.random.key(0)) + 1
    g = mx.random.normal(x.shape, key=mx.random.key(1)) + 1
    one, zero = mx.ones((4,)), mx.zeros((4,))
    dweight, dbias = mx.grad(lambda w, b: mx.sum(norm(x, w, b) * g), argnums=(0, 1))(
        one, zero
    )
    h = np.array(norm(x, one, zero), np.float64)
    g = np.array(g, np.float64)
    np.testing.assert_allclose(dweight, (g * h).sum((0, 1)), rtol=2e-5, atol=0.5)
    if norm is not NORMS["rms_norm"]:
        np.testing.assert_allclose(dbias, g.sum((0, 1)), rtol=1e-6)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
@norms
def test_half_precision_is_float32_rounded_once(norm, dtype):
    x = (mx.random.normal((2, 6, 4), key=mx.random.key(0)) + 3).astype(dtype)
    w, b = mx.ones((4,)).astype(dtype), mx.zeros((4,)).astype(dtype)
    exact = norm(*(a.astype(mx.float32) for a in (x, w, b)))
    assert mx.array_equal(norm(x, w, b), exact.astype(dtype))
    grads = mx.grad(lambda *a: mx.sum(norm(*a)), argnums=(0, 1))(x, w, b)
    assert {grad.dtype for grad in grads} == {dtype}


@pytest.mark.parametrize("formulation", [contextlib.nullcontext, ops.plain])
@pytest.mark.parametrize("name", NORMS)
def test_long_rows_keep_their_digits(name, formulation):
    x = np.random.default_rng(0).uniform(100, 101, (2, 1 << 18)).astype(np.float32)
    exact = {
        "layer_norm": standardized(x, -1),
        "rms_norm": x / np.sqrt(np.mean(x.astype(np.float64) ** 2, -1, keepdims=True)),
        "group_norm": standardized(x.reshape(2, 2, -1), -1).reshape(x.shape),
    }[name]
    with formulation():
        y = NORMS[name](mx.array(x), mx.ones(x.shape[1:]), mx.zeros(x.shape[1:]))
    np.testing.assert_allclose(np.array(y), exact, rtol=0, atol=1e-6)


@norms
def test_a_constant_input_has_gradients(norm):
    x = mx.full((2, 6, 4), 3.0)
    slope = mx.grad(lambda x: mx.sum(norm(x, mx.ones((4,)), mx.zeros((4,)))))
    assert mx.all(mx.isfinite(slope(x))).item()


@norms
def test_no_rows_have_no_norm(norm):
    assert norm(mx.ones((0, 4)), mx.ones((4,)), mx.ones((4,))).shape == (0, 4)


@pytest.mark.parametrize("name", NORMS)
def test_a_wrong_weight_is_named(name):
    message = rf"{name}: weight must have shape \(4,\) .*, got \(3,\)"
    with pytest.raises(ValueError, match=message):
        NORMS[name](mx.ones((2, 4)), mx.ones((3,)), mx.ones((4,)))


@pytest.mark.parametrize("name", NORMS)
def test_integers_are_refused(name):
    x, ones, integers = mx.ones((2, 4)), mx.ones((4,)), mx.ones((4,), mx.int32)
    with pytest.raises(TypeError, match=f"{name}: x must be of a float dtype"):
        NORMS[name](x.astype(mx.int32), ones, ones)
    with pytest.raises(TypeError, match=f"{name}: weight must be of a float dtype"):
        NORMS[name](x, integers, ones)


@pytest.mark.parametrize("name", ["layer_norm", "group_norm"])
def test_a_wrong_bias_is_named(name):
    with pytest.raises(ValueError, match=rf"{name}: bias must have shape \(4,\)"):
        NORMS[name](mx.ones((2, 4)), mx.ones((4,)), mx.ones((4, 1)))


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
@pytest.mark.parametrize("shape", [(), (2, 0)])
def test_an_input_without_columns_is_named(name, shape):
    with pytest.raises(ValueError, match=rf"{name}: x must have shape \(..., C\)"):
        NORMS[name](mx.ones(shape), mx.ones((4,)), mx.ones((4,)))


@pytest.mark.parametrize("groups", [0, 3])
def test_groups_must_divide_the_channels(groups):
    with pytest.raises(
        ValueError, match=r"group_norm: groups must be (at least 1|a positive divisor)"
    ):
        ops.group_norm(
            mx.ones((2, 4)), mx.ones((4,)), mx.ones((4,)), groups=groups, eps=1e-5
        )


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16])
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_the_kernel_for_gpus_is_the_same_function(name, dtype, monkeypatch):
    keys = mx.random.split(mx.random.key(0), 3)
    x = mx.random.normal((3, 5, 8), key=keys[0]).astype(dtype)
    w, b = (mx.random.normal((8,), key=key).astype(dtype) for key in keys[1:])
    expected = NORMS[name](x, w, b)
    monkeypatch.setattr(mx, "default_device", lambda: mx.Device(mx.gpu))
    found = NORMS[name](x, w, b)
    assert found.dtype == dtype
    atol = 1e-5 if dtype == mx.float32 else 4e-3  # two roundings
    assert mx.allclose(found, expected, rtol=0, atol=atol)
