"""Softmax, its logarithm and logsumexp: hand values, extremes, derivatives."""

import math

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import ops

RTOL = 5e-6  # numbers 30 below the largest: x - max(x) is rounded to 2e-6
SIZES = [(6, 5), (40, 100)]  # below and above the size from which the tuned one runs
FUNCTIONS = [ops.softmax, ops.log_softmax, ops.softmin]


def draw(shape, seed=0):
    return 5 * mx.random.normal(shape, key=mx.random.key(seed))


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_values_are_those_of_float64(shape, axis):
    x = draw(shape)
    exact = np.array(x, np.float64)
    exact = np.exp(exact - exact.max(axis, keepdims=True))
    total = exact.sum(axis, keepdims=True)
    assert np.allclose(ops.softmax(x, axis), exact / total, rtol=RTOL, atol=0)
    log = np.log(exact / total)
    assert np.allclose(ops.log_softmax(x, axis), log, rtol=1e-6, atol=2e-6)
    summed = np.log(np.exp(np.array(x, np.float64)).sum(axis))
    assert np.allclose(ops.logsumexp(x, axis), summed, rtol=1e-6)


def test_softmin_is_softmax_of_the_opposite():
    x = draw((3, 4))
    assert mx.array_equal(ops.softmin(x), ops.softmax(-x))


@pytest.mark.parametrize("columns", [3, 4000])
def test_huge_and_infinite_numbers_have_their_limits(columns):
    x = mx.full((1, columns), -math.inf)
    x[0, 0] = 1e30
    assert ops.softmax(x)[0, :2].tolist() == [1, 0]
    assert ops.log_softmax(x)[0, :2].tolist() == [0, -math.inf]
    assert ops.logsumexp(x).item() == pytest.approx(1e30)
    assert ops.logsumexp(mx.full((1, columns), -math.inf)).item() == -math.inf
    assert ops.logsumexp(mx.full((1, columns), math.inf)).item() == math.inf
    assert math.isnan(ops.softmax(mx.full((1, columns), -math.inf))[0, 0].item())


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_derivatives_are_those_of_mlx(name, shape):
    x, direction = draw(shape), draw(shape, seed=1)
    theirs = {
        "softmax": lambda x: mx.softmax(x, axis=-1),
        "log_softmax": lambda x: x - mx.logsumexp(x, axis=-1, keepdims=True),
        "logsumexp": lambda x: mx.logsumexp(x, axis=-1),
    }[name]

    def derivatives(function):
        def slope(x):
            return mx.grad(lambda x: (function(x) ** 2).sum())(x)

        tangent = mx.jvp(function, [x], [direction])[1][0]
        curvature = mx.grad(lambda x: (slope(x) * direction).sum())(x)
        return slope(x), tangent, curvature, mx.vmap(slope)(x)

    function = mx.compile(getattr(ops, name))
    for a, b in zip(derivatives(function), derivatives(theirs), strict=True):
        assert mx.allclose(a, b, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("function", [*FUNCTIONS, ops.logsumexp])
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_is_float32_rounded_once(function, dtype):
    x = draw((3, 7)).astype(dtype)
    y = function(x)
    assert y.dtype == dtype
    assert mx.array_equal(y, function(x.astype(mx.float32)).astype(dtype))
    assert mx.grad(lambda x: function(x).sum())(x).dtype == dtype


@pytest.mark.parametrize("function", [*FUNCTIONS, ops.logsumexp])
def test_integers_are_refused(function):
    with pytest.raises(TypeError, match="x must be of a float dtype, got"):
        function(mx.array([[1, 2, 3]]))


def test_logsumexp_keeps_the_axis_on_demand():
    assert ops.logsumexp(mx.zeros((2, 3)), 0).shape == (3,)
    assert ops.logsumexp(mx.zeros((2, 3)), 0, keepdims=True).shape == (1, 3)


@pytest.mark.parametrize("function", [*FUNCTIONS, ops.logsumexp])
@pytest.mark.parametrize("axis", [2, -3])
def test_an_axis_that_is_not_there_is_named(function, axis):
    message = f"^{function.__name__}: axis must be one of x, got {axis} for x of shape"
    with pytest.raises(ValueError, match=message):
        function(mx.zeros((2, 3)), axis)


def test_a_scalar_has_no_axis():
    with pytest.raises(ValueError, match="softmax: axis must be one of x, got -1"):
        ops.softmax(mx.array(1.0))


@pytest.mark.parametrize(
    ("x", "slopes"),
    [
        ([1.0, np.inf, 2.0], [0, np.nan, 0]),
        ([np.inf, np.inf, 1.0], [np.nan, np.nan, 0]),
        ([np.inf, -np.inf], [np.nan, 0]),
        ([-np.inf, 1.0], [0, 1]),
        ([-np.inf, -np.inf], [np.nan, np.nan]),
        ([np.nan, np.inf], [np.nan, np.nan]),
    ],
)
def test_beside_an_infinite_number_the_gradient_of_logsumexp_is_0(x, slopes):
    """As in PyTorch and JAX: `exp(x - logsumexp(x))`."""
    x = mx.array(x)
    for many in (x, mx.tile(x, (1200, 1))):  # by one kernel and by several
        found = lf.grad(lambda x: mx.sum(ops.logsumexp(x)))(many)
        assert np.array_equal(found, np.broadcast_to(slopes, found.shape), True)
    tangent = lf.jvp(ops.logsumexp, (x,), (mx.ones_like(x),))[1]
    assert np.array_equal(tangent, np.sum(slopes), equal_nan=True)
