"""Norms of rows and of groups of channels against PyTorch in float64."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lucid_fn import ops
from tests.strategies import seeds

torch = pytest.importorskip("torch")
F = torch.nn.functional
BOUND = 1e-5  # relative to the largest number, or to the 1 of what cancels
EPS = 1e-3


def rows(norm):
    return lambda x, *columns: norm(x, x.shape[-1:], *columns, eps=EPS)


def groups(x):
    return 2 if x.shape[-1] % 2 == 0 else 1


def theirs_in_groups(x, weight, bias):
    images = x.permute(0, 3, 1, 2)
    y = F.group_norm(images, groups(x), weight, bias, eps=EPS)
    return y.permute(0, 2, 3, 1)


PAIRS = {
    "layer_norm": (lambda *a: ops.layer_norm(*a, eps=EPS), rows(F.layer_norm), 3),
    "rms_norm": (lambda *a: ops.rms_norm(*a, eps=EPS), rows(F.rms_norm), 2),
    "group_norm": (
        lambda x, w, b: ops.group_norm(x, w, b, groups=groups(x), eps=EPS),
        theirs_in_groups,
        3,
    ),
}


@pytest.mark.parametrize(("ours", "theirs", "arity"), PAIRS.values(), ids=PAIRS)
@given(
    # PyTorch refuses groups of one value.
    shape=st.tuples(*[st.integers(2, 12)] * 3, st.integers(2, 130)),
    offset=st.sampled_from([0.0, 3.0, -50.0]),
    seed=seeds(),
)
@settings(max_examples=25)
def test_values_and_gradients_are_those_of_pytorch(
    ours, theirs, arity, shape, offset, seed
):
    keys = mx.random.split(mx.random.key(seed), 4)
    x = mx.random.normal(shape, key=keys[0]) + offset
    weight, bias = (mx.random.normal(shape[-1:], key=key) for key in keys[1:3])
    g = mx.random.normal(shape, key=keys[3])
    arguments = [x, weight, bias][:arity]
    (y,), grads = mx.vjp(ours, arguments, [g])

    leaves = [
        torch.tensor(np.array(a), dtype=torch.float64, requires_grad=True)
        for a in arguments
    ]
    exact = theirs(*leaves)
    exact_grads = torch.autograd.grad(exact, leaves, torch.tensor(np.array(g)).double())
    bound = BOUND * max(1.0, abs(offset) / 3)  # digits that x itself lacks
    for found, expected in zip(
        [y, *grads], [exact.detach(), *exact_grads], strict=True
    ):
        scale = max(1.0, expected.abs().max().item())
        difference = np.abs(np.array(found, np.float64) - expected.numpy()).max()
        assert difference < bound * scale
