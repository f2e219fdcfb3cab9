"""Activations and softmax against PyTorch: values and gradients."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, strategies as st

from lucid_fn import nn, ops

torch = pytest.importorskip("torch")
F = torch.nn.functional

# For values and cotangents of size 1. The largest error of a slope is 1.5e-6, that of
# gelu_tanh and mish (PyTorch's gelu_tanh: 1.0e-6).
RTOL, ATOL = 2e-6, 2e-6

PAIRS = {
    "celu": (lambda x: ops.celu(x, 1.5), lambda x: F.celu(x, 1.5)),
    "elu": (lambda x: ops.elu(x, 0.7), lambda x: F.elu(x, 0.7)),
    "erf": (ops.erf, torch.erf),
    "exp": (ops.exp, torch.exp),
    "gelu": (ops.gelu, F.gelu),
    "gelu_tanh": (ops.gelu_tanh, lambda x: F.gelu(x, approximate="tanh")),
    "glu": (ops.glu, F.glu),
    "hard_shrink": (ops.hard_shrink, F.hardshrink),
    "hard_sigmoid": (ops.hard_sigmoid, F.hardsigmoid),
    "hard_swish": (ops.hard_swish, F.hardswish),
    "hard_tanh": (ops.hard_tanh, F.hardtanh),
    "leaky_relu": (lambda x: ops.leaky_relu(x, 0.2), lambda x: F.leaky_relu(x, 0.2)),
    "log_sigmoid": (ops.log_sigmoid, F.logsigmoid),
    "log_softmax": (ops.log_softmax, lambda x: F.log_softmax(x, -1)),
    "logsumexp": (ops.logsumexp, lambda x: torch.logsumexp(x, -1)),
    "mish": (ops.mish, F.mish),
    "relu": (ops.relu, F.relu),
    "relu6": (ops.relu6, F.relu6),
    "rrelu": (lambda x: nn.rrelu().apply({}, {}, x, train=False)[0], F.rrelu),
    "selu": (ops.selu, F.selu),
    "sigmoid": (ops.sigmoid, torch.sigmoid),
    "silu": (ops.silu, F.silu),
    "soft_shrink": (ops.soft_shrink, F.softshrink),
    "softmax": (ops.softmax, lambda x: F.softmax(x, -1)),
    "softmin": (ops.softmin, lambda x: F.softmin(x, -1)),
    "softplus": (ops.softplus, F.softplus),
    "softplus-sharp": (
        lambda x: ops.softplus(x, 2.5),
        lambda x: F.softplus(x, 2.5, 99),
    ),
    "softsign": (ops.softsign, F.softsign),
    "tanh": (ops.tanh, torch.tanh),
    "tanh_shrink": (ops.tanh_shrink, F.tanhshrink),
}


def both(name, x, g):
    """Our value and gradient, and PyTorch's in float64."""
    ours, theirs = PAIRS[name]
    y, dx = mx.vjp(ours, [mx.array(x)], [mx.array(g)])
    t = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    ty = theirs(t)
    (tdx,) = torch.autograd.grad(ty, t, torch.tensor(g, dtype=torch.float64))
    return (np.array(y[0]), np.array(dx[0])), (ty.detach().numpy(), tdx.numpy())


@pytest.mark.parametrize("name", PAIRS)
@given(
    scale=st.sampled_from([1e-3, 1.0, 10.0]),
    rows=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
)
def test_values_and_gradients_are_pytorchs(name, scale, rows, seed):
    rng = np.random.default_rng(seed)
    x = (scale * rng.normal(size=(rows, 6))).astype(np.float32)
    shape = PAIRS[name][0](mx.array(x)).shape
    g = rng.normal(size=shape).astype(np.float32)
    for ours, theirs in zip(*both(name, x, g), strict=True):
        size = max(np.abs(theirs).max(), np.abs(g).max(), 1.0)
        np.testing.assert_allclose(ours, theirs, rtol=RTOL, atol=ATOL * size)


@pytest.mark.parametrize(
    "name", ["relu", "relu6", "leaky_relu", "elu", "hard_tanh", "hard_shrink"]
)
def test_the_slope_at_a_kink_is_pytorchs(name):
    x = np.array([-1.0, -0.5, 0.0, 0.5, 1.0, 6.0], np.float32)
    (_, ours), (_, theirs) = both(name, x, np.ones(6, np.float32))
    np.testing.assert_allclose(ours, theirs, rtol=RTOL, atol=ATOL)


def test_prelu_is_pytorchs():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(5, 3)), rng.normal(size=3)
    x, w = x.astype(np.float32), w.astype(np.float32)
    y, (dx, dw) = mx.vjp(ops.prelu, [mx.array(x), mx.array(w)], [mx.ones((5, 3))])
    tx, tw = (torch.tensor(a, requires_grad=True) for a in (x, w))
    ty = F.prelu(tx, tw)
    tdx, tdw = torch.autograd.grad(ty.sum(), [tx, tw])
    for ours, theirs in ((y[0], ty.detach()), (dx, tdx), (dw, tdw)):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=RTOL, atol=ATOL)


@given(
    n=st.integers(1, 5),
    classes=st.integers(1, 700),
    seed=st.integers(0, 2**32 - 1),
)
def test_softmax_cross_entropy_is_pytorchs(n, classes, seed):
    rng = np.random.default_rng(seed)
    logits = (5 * rng.normal(size=(n, classes))).astype(np.float32)
    labels = rng.integers(0, classes, n)
    (loss,), (dlogits,) = mx.vjp(
        lambda z: ops.softmax_cross_entropy(z, mx.array(labels)),
        [mx.array(logits)],
        [mx.ones(n)],
    )
    z = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    theirs = F.cross_entropy(z, torch.tensor(labels), reduction="none")
    (dz,) = torch.autograd.grad(theirs.sum(), z)
    np.testing.assert_allclose(loss, theirs.detach().numpy(), rtol=RTOL, atol=ATOL)
    np.testing.assert_allclose(dlogits, dz.numpy(), rtol=1e-5, atol=ATOL)
