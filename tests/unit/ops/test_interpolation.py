"""Linear interpolation: the tuned gradient, transformations, what is not finite."""

import math

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lucid_fn import ops
from lucid_fn.ops.interpolation import interpolate
from tests.strategies import seeds

BOUND = 1e-5


@st.composite
def cases(draw):
    """An array, an axis of it, and places along that axis."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    axis = draw(st.integers(0, len(shape) - 1))
    rng = np.random.default_rng(draw(seeds()))
    places = rng.uniform(0, shape[axis] - 1, draw(st.integers(1, 9)))
    if draw(st.booleans()):
        places = np.round(places)
    x = mx.array(rng.standard_normal(shape).astype(np.float32))
    return x, axis, places


@given(cases())
@settings(max_examples=40)
def test_values_are_those_of_numpy(case):
    x, axis, places = case
    exact = np.apply_along_axis(
        lambda row: np.interp(places, np.arange(len(row)), row), axis, np.array(x)
    )
    np.testing.assert_allclose(np.array(interpolate(*case)), exact, atol=BOUND)


@given(cases())
@settings(max_examples=40)
def test_gradients_are_those_of_the_plain_formulation(case):
    x, axis, places = case

    def grad(x):
        return mx.grad(lambda x: mx.sum(mx.sin(interpolate(x, axis, places))))(x)

    def second(x):
        return mx.grad(lambda x: mx.sum(mx.sin(grad(x))))(x)

    found = [grad(x), second(x)]
    with ops.plain():
        expected = [grad(x), second(x)]
    for ours, theirs in zip(found, expected, strict=True):
        assert mx.allclose(ours, theirs, rtol=0, atol=BOUND).item()


@given(cases())
@settings(max_examples=20)
def test_forward_over_reverse_is_reverse_over_reverse(case):
    x, axis, places = case

    def grad(x):
        return mx.grad(lambda x: mx.sum(mx.sin(interpolate(x, axis, places))))(x)

    direction = mx.cos(x)
    (found,) = mx.jvp(grad, [x], [direction])[1]
    expected = mx.grad(lambda x: mx.sum(grad(x) * direction))(x)
    assert mx.allclose(found, expected, rtol=0, atol=BOUND).item()


def test_gradients_of_single_examples_are_those_of_the_batch():
    x = mx.random.normal((3, 4, 5, 2), key=mx.random.key(0))
    places = np.linspace(0, 3, 7)

    def grad(x):
        return mx.grad(lambda x: mx.sum(interpolate(x, 0, places) ** 2))(x)

    assert mx.allclose(mx.vmap(grad)(x), mx.stack([grad(one) for one in x]), atol=BOUND)


def test_a_nan_stays_with_its_neighbours():
    x = mx.array([0.0, math.nan, 2.0, 3.0, 4.0])
    y = interpolate(x, 0, np.array([0.0, 0.5, 1.5, 2.5, 3.5]))
    assert mx.isnan(y).tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_in_half_precision_out(dtype):
    x = mx.arange(6).astype(dtype)
    (y,), (dx,) = mx.vjp(
        lambda x: interpolate(x, 0, np.linspace(0, 5, 11)), [x], [mx.ones((11,), dtype)]
    )
    assert y.dtype == dx.dtype == dtype
    assert mx.allclose(y.astype(mx.float32), mx.linspace(0, 5, 11), atol=0.05)


def test_long_axes_have_the_same_gradient(monkeypatch):
    x = mx.random.normal((300, 2), key=mx.random.key(0))
    places = np.linspace(0, 299, 500)

    def grad(x):
        return mx.grad(lambda x: mx.sum(mx.sin(interpolate(x, 0, places))))(x)

    found = grad(x)
    monkeypatch.setattr("lucid_fn.ops.interpolation._MOST_PLACES", 1000)
    assert mx.allclose(grad(x), found, atol=BOUND)
