"""Lengths of vectors, their distances and angles: dtypes, extremes and errors."""

import math

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import ops

X = mx.array([[3.0, 4.0], [0.0, 0.0]])


def test_a_vector_of_zeros_stays_one():
    assert ops.normalize(X)[1].tolist() == [0, 0]


def test_nan_stays_nan():
    x = mx.array([mx.nan, 1.0])
    assert mx.isnan(ops.normalize(x)).all().item()
    assert mx.isnan(ops.pairwise_distance(x, mx.ones(2))).item()


def test_half_precision_is_computed_in_float32():
    x = mx.full((1000,), 100.0, mx.float16)  # squares that float16 does not hold
    assert ops.normalize(x).dtype == mx.float16
    np.testing.assert_allclose(np.array(ops.normalize(x)), 1000**-0.5, rtol=1e-3)
    assert ops.cosine_similarity(x, x).item() == pytest.approx(1, abs=1e-3)


def test_the_product_of_two_lengths_may_be_beyond_float32():
    x = mx.array([1e-18, 1e19])
    assert ops.cosine_similarity(x * 0.9, x).item() == pytest.approx(1)


def test_each_is_compared_with_each():
    y = mx.ones((3, 2))
    assert ops.cosine_similarity(X[:, None], y[None]).shape == (2, 3)
    assert ops.pairwise_distance(X[:, None], y[None]).shape == (2, 3)


@pytest.mark.usefixtures("unfused")
def test_gradients_are_finite_under_jit_and_vmap():
    loss = lambda x: ops.normalize(x, p=1.5).sum()  # noqa: E731
    grads = lf.jit(lf.vmap(lf.grad(loss)))(X)
    assert mx.isfinite(grads).all().item()


def test_empty_vectors_have_the_length_0():
    x = mx.zeros((2, 0))
    assert ops.pairwise_distance(x, x).tolist() == [0, 0]
    assert ops.pairwise_distance(x, x, p=math.inf).tolist() == [0, 0]
    assert ops.normalize(x).shape == (2, 0)


@pytest.mark.parametrize("function", [ops.cosine_similarity, ops.pairwise_distance])
def test_shapes_that_do_not_broadcast_are_an_error(function):
    with pytest.raises(ValueError, match=r"y must have a shape that broadcasts"):
        function(X, mx.ones((2, 3)))


@pytest.mark.parametrize("p", [0, -1.0, math.nan])
def test_an_order_that_is_not_positive_is_an_error(p):
    with pytest.raises(ValueError, match="normalize: p must be positive"):
        ops.normalize(X, p=p)
    with pytest.raises(ValueError, match="pairwise_distance: p must be positive"):
        ops.pairwise_distance(X, X, p=p)


def test_integers_are_an_error():
    with pytest.raises(TypeError, match="cosine_similarity: y must be of a float"):
        ops.cosine_similarity(X, mx.array([1, 2]))
