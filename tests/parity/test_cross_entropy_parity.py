"""The cross-entropy of many classes against PyTorch in float64."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lucid_fn import ops
from tests.strategies import seeds

torch = pytest.importorskip("torch")
BOUND = 2e-6  # of the loss relative to 1, of the gradient to its largest number


@given(
    rows=st.integers(1, 6),
    classes=st.one_of(st.integers(1, 70), st.integers(1000, 5000)),
    scale=st.sampled_from([0.0, 1.0, 10.0, 100.0]),
    offset=st.sampled_from([0.0, 1000.0]),
    seed=seeds(),
)
@settings(max_examples=40)
def test_loss_and_gradient_are_those_of_pytorch(rows, classes, scale, offset, seed):
    keys = mx.random.split(mx.random.key(seed), 3)
    logits = scale * mx.random.normal((rows, classes), key=keys[0]) + offset
    labels = mx.random.randint(0, classes, (rows,), key=keys[1])
    g = mx.random.normal((rows,), key=keys[2])
    (loss,), (grad, _) = mx.vjp(ops.softmax_cross_entropy, [logits, labels], [g])

    leaf = torch.tensor(np.array(logits), dtype=torch.float64, requires_grad=True)
    exact = torch.nn.functional.cross_entropy(
        leaf, torch.tensor(np.array(labels)).long(), reduction="none"
    )
    exact.backward(torch.tensor(np.array(g)).double())
    bounds = {"loss": (1 + exact.detach()).numpy(), "grad": g.abs().max().item()}
    found = {"loss": loss, "grad": grad}
    expected = {"loss": exact.detach().numpy(), "grad": leaf.grad.numpy()}
    for name, bound in bounds.items():
        difference = np.abs(np.array(found[name], np.float64) - expected[name])
        assert (difference <= BOUND * bound).all(), name
