"""Similarities, distances and lengths of vectors against PyTorch in float64."""

import math

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lucid_fn import ops

torch = pytest.importorskip("torch")
F = torch.nn.functional

ORDERS = st.sampled_from([0.5, 1, 1.5, 2, 3, math.inf])


@st.composite
def pairs(draw):
    """Two arrays that broadcast, and an axis; some vectors are zeros, some equal."""
    shape = draw(st.tuples(*[st.integers(1, 4)] * 3))
    other = tuple(n if draw(st.booleans()) else 1 for n in shape)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x, y = (rng.normal(size=s).astype(np.float32) for s in (shape, other))
    if draw(st.booleans()):
        x[:, 0] = 0
    return x, y, draw(st.integers(-3, 2))


def check(ours, theirs, *arrays):
    """Equal values and gradients of all arrays."""
    leaves = [torch.tensor(a, dtype=torch.float64).requires_grad_() for a in arrays]
    expected = theirs(*leaves)
    g = np.random.default_rng(0).normal(size=expected.shape).astype(np.float32)
    grads = torch.autograd.grad(expected, leaves, torch.tensor(g, dtype=torch.float64))
    (found,), found_grads = mx.vjp(ours, [*map(mx.array, arrays)], [mx.array(g)])
    for mine, exact in zip([found, *found_grads], [expected, *grads], strict=True):
        exact = exact.detach().numpy()
        bound = 2e-5 * max(1.0, abs(exact).max(initial=0))
        np.testing.assert_allclose(np.array(mine), exact, rtol=1e-5, atol=bound)


@given(pairs())
@settings(max_examples=30)
def test_cosine_similarity_is_pytorchs(case):
    x, y, axis = case
    check(
        lambda x, y: ops.cosine_similarity(x, y, axis=axis),
        lambda x, y: F.cosine_similarity(x, y, axis),
        x,
        y,
    )


@given(pairs(), ORDERS)
@settings(max_examples=40)
def test_normalize_is_pytorchs(case, p):
    x, _, axis = case
    check(
        lambda x: ops.normalize(x, p=p, axis=axis, eps=0.1),
        lambda x: F.normalize(x, p, axis, eps=0.1),
        x,
    )


@given(pairs(), ORDERS, st.booleans())
@settings(max_examples=40)
def test_pairwise_distance_is_pytorchs(case, p, keepdims):
    x, y, _ = case
    check(
        lambda x, y: ops.pairwise_distance(x, y, p=p, keepdims=keepdims),
        lambda x, y: F.pairwise_distance(x, y, p, keepdim=keepdims),
        x,
        y,
    )


def test_equal_vectors_have_the_distance_and_gradient_of_pytorch():
    x = np.ones((2, 3), np.float32)
    check(
        lambda x, y: ops.pairwise_distance(x, y, eps=0.0),
        lambda x, y: F.pairwise_distance(x, y, eps=0.0),
        x,
        x,
    )
