"""Interpolation: the tuned gradient, transformations, what is not finite."""

import math

import mlx.core as mx
import numpy as np
from hypothesis import given, settings, strategies as st

from lucid_fn import ops
from lucid_fn.cpu.interpolate import matrix
from lucid_fn.ops.interpolate import Taps, interpolate
from tests.strategies import seeds

BOUND = 1e-5


def between(places, size):
    """The taps of linear interpolation at these places."""
    below = np.minimum(places.astype(int), size - 1)
    share = (places - below).astype(np.float32)
    above = np.minimum(below + 1, size - 1)
    return Taps(np.stack([below, above]), np.stack([1 - share, share]))


@st.composite
def cases(draw):
    """An array, an axis of it, and the taps and places along that axis."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    axis = draw(st.integers(0, len(shape) - 1))
    rng = np.random.default_rng(draw(seeds()))
    places = rng.uniform(0, shape[axis] - 1, draw(st.integers(1, 9)))
    if draw(st.booleans()):
        places = np.round(places)
    x = mx.array(rng.standard_normal(shape).astype(np.float32))
    return x, axis, between(places, shape[axis]), places


@given(cases())
@settings(max_examples=40)
def test_values_are_those_of_numpy(case):
    x, axis, taps, places = case
    exact = np.apply_along_axis(
        lambda row: np.interp(places, np.arange(len(row)), row), axis, np.array(x)
    )
    np.testing.assert_allclose(np.array(interpolate(x, axis, taps)), exact, atol=BOUND)


@given(cases())
@settings(max_examples=40)
def test_gradients_are_those_of_the_plain_formulation(case):
    x, axis, taps, _ = case

    def grad(x):
        return mx.grad(lambda x: mx.sum(mx.sin(interpolate(x, axis, taps))))(x)

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
    x, axis, taps, _ = case

    def grad(x):
        return mx.grad(lambda x: mx.sum(mx.sin(interpolate(x, axis, taps))))(x)

    direction = mx.cos(x)
    (found,) = mx.jvp(grad, [x], [direction])[1]
    expected = mx.grad(lambda x: mx.sum(grad(x) * direction))(x)
    assert mx.allclose(found, expected, rtol=0, atol=BOUND).item()


def test_gradients_of_single_examples_are_those_of_the_batch():
    x = mx.random.normal((3, 4, 5, 2), key=mx.random.key(0))
    taps = between(np.linspace(0, 3, 7), 4)

    def grad(x):
        return mx.grad(lambda x: mx.sum(interpolate(x, 0, taps) ** 2))(x)

    assert mx.allclose(mx.vmap(grad)(x), mx.stack([grad(one) for one in x]), atol=BOUND)


def test_a_nan_stays_with_its_neighbours():
    x = mx.array([0.0, math.nan, 2.0, 3.0, 4.0])
    y = interpolate(x, 0, between(np.array([0.0, 0.5, 1.5, 2.5, 3.5]), 5))
    assert mx.isnan(y).tolist() == [True, True, True, False, False]


@given(cases())
@settings(max_examples=20)
def test_transposed_taps_are_the_transposed_matrix(case):
    x, axis, taps, _ = case
    size = x.shape[axis]
    transposed = matrix(taps.transposed(size), taps.inputs.shape[1])
    assert mx.allclose(transposed, matrix(taps, size).T, atol=1e-6)


def test_long_axes_have_the_same_gradient(monkeypatch):
    x = mx.random.normal((300, 2), key=mx.random.key(0))
    taps = between(np.linspace(0, 299, 500), 300)

    def grad(x):
        return mx.grad(lambda x: mx.sum(mx.sin(interpolate(x, 0, taps))))(x)

    found = grad(x)
    monkeypatch.setattr("lucid_fn.cpu.interpolate._MAX_DENSE_SIZE", 1000)
    assert mx.allclose(grad(x), found, atol=BOUND)
