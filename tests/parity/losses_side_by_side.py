"""Draws for losses, and the comparison of values and gradients with PyTorch's."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import settings, strategies as st
from numpy.testing import assert_allclose

torch = pytest.importorskip("torch")
F = torch.nn.functional

seeds = st.integers(0, 2**32 - 1)
EXAMPLES = settings(max_examples=15)
N, C = 6, 4


def generators(seed):
    return np.random.default_rng(seed)


def normal(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def signs(rng, *shape):
    return (2 * rng.integers(0, 2, shape) - 1).astype(np.float32)


def double(x):
    return torch.tensor(x, dtype=torch.float64)


def agree(ours, theirs, *inputs, rtol=2e-6, atol=2e-6):
    """Compares values, and the gradients in all float inputs of a weighted sum.

    PyTorch computes in float64, so that the bounds are on our rounding alone.
    """
    mine, places = [mx.array(x) for x in inputs], list(range(len(inputs)))
    other = [double(x).requires_grad_() for x in inputs]
    expected = theirs(*other)
    assert_allclose(ours(*mine), expected.detach(), rtol=rtol, atol=atol)

    # Unequal weights, so that no error cancels in the sum.
    weights = np.linspace(1, 2, expected.numel(), dtype=np.float32)
    weights = weights.reshape(expected.shape)
    grads = mx.grad(lambda *a: mx.sum(ours(*a) * mx.array(weights)), places)(*mine)
    grads = [grads] if len(places) == 1 else grads
    (expected * double(weights)).sum().backward()
    for x, grad in zip(other, grads, strict=True):
        assert_allclose(grad, x.grad, rtol=10 * rtol, atol=10 * atol)
