"""Batch normalization against PyTorch in float64."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, strategies as st

from lucid_fn import ops
from tests.strategies import seeds

torch = pytest.importorskip("torch")
BOUND = 1e-5  # relative to the largest number, or to the 1 of what cancels
EPS = 1e-5


@given(st.tuples(*[st.integers(2, 6)] * 4), seeds())
def test_outputs_statistics_and_gradients_are_those_of_pytorch(shape, seed):
    keys = mx.random.split(mx.random.key(seed), 4)
    x = mx.random.normal(shape, key=keys[0]) + 2
    weight, bias = (mx.random.normal(shape[-1:], key=key) for key in keys[1:3])
    g = mx.random.normal(shape, key=keys[3])

    def run(x, weight, bias):
        return ops.batch_norm(x, weight, bias, eps=EPS)

    zero = mx.zeros_like(weight)
    outputs, grads = mx.vjp(run, [x, weight, bias], [g, zero, zero])

    leaves = [
        torch.tensor(np.array(a), dtype=torch.float64, requires_grad=True)
        for a in (x, weight, bias)
    ]
    mean, var = torch.zeros(shape[-1]).double(), torch.zeros(shape[-1]).double()
    images = leaves[0].permute(0, 3, 1, 2)
    y = torch.nn.functional.batch_norm(
        images, mean, var, *leaves[1:], training=True, momentum=1.0, eps=EPS
    ).permute(0, 2, 3, 1)
    count = x.size // shape[-1]
    exact = [y.detach(), mean, var * (count - 1) / count]
    exact += torch.autograd.grad(y, leaves, torch.tensor(np.array(g)).double())
    for found, expected in zip([*outputs, *grads], exact, strict=True):
        scale = max(1.0, expected.abs().max().item())
        difference = np.abs(np.array(found, np.float64) - expected.numpy()).max()
        assert difference < BOUND * scale
