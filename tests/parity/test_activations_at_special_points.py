"""Activations at infinities, nan, zeros and kinks: values and slopes of PyTorch."""

import contextlib

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import nn, ops
from tests.registry.activations import ACTIVATIONS

torch = pytest.importorskip("torch")
F = torch.nn.functional

THEIRS = {
    nn.celu: F.celu,
    nn.elu: F.elu,
    nn.gelu: F.gelu,
    nn.gelu_sigmoid: lambda x: x * torch.sigmoid(1.702 * x),
    nn.gelu_tanh: lambda x: F.gelu(x, approximate="tanh"),
    nn.glu: None,  # of two numbers, see below
    nn.hard_shrink: F.hardshrink,
    nn.hard_sigmoid: F.hardsigmoid,
    nn.hard_swish: F.hardswish,
    nn.hard_tanh: F.hardtanh,
    nn.leaky_relu: F.leaky_relu,
    nn.log_sigmoid: F.logsigmoid,
    nn.log_softmax: None,
    nn.mish: F.mish,
    nn.relu: F.relu,
    nn.relu6: F.relu6,
    nn.relu_squared: lambda x: F.relu(x) ** 2,
    nn.selu: F.selu,
    nn.sigmoid: torch.sigmoid,
    nn.silu: F.silu,
    nn.soft_shrink: F.softshrink,
    nn.softmax: None,
    nn.softmin: None,
    nn.softplus: F.softplus,
    nn.softsign: F.softsign,
    nn.step: lambda x: (x.detach() >= 0).to(x.dtype) + 0 * x.nan_to_num(),
    nn.tanh: torch.tanh,
    nn.tanh_shrink: F.tanhshrink,
    ops.erf: torch.erf,
    ops.exp: torch.exp,
}
ALONE = [fn for fn, theirs in THEIRS.items() if theirs is not None]

inf, nan = float("inf"), float("nan")
POINTS = [
    inf,
    -inf,
    nan,
    0.0,
    -0.0,
    *map(float, range(-7, 8)),
    -0.5,
    0.5,
    1e-30,
    -1e-30,
    3e-39,
]
POINTS += [-1e37, 1e37, -100.0, 100.0, -20.5, 20.5, -90.0, 90.0]


def test_every_activation_of_the_registry_is_compared():
    assert set(ACTIVATIONS) <= set(THEIRS)


def both(fn, theirs, x, dtype=mx.float32):
    """Values and gradients, ours and PyTorch's."""
    ours = mx.array(x).astype(dtype)
    (y,), (dx,) = mx.vjp(fn, [ours], [mx.ones(fn(ours).shape, dtype)])
    t = torch.tensor(x).to(getattr(torch, str(dtype).rpartition(".")[2]))
    t.requires_grad_(True)
    their_y = theirs(t)
    (their_dx,) = torch.autograd.grad(their_y.sum(), t)
    pairs = ((y, their_y.detach()), (dx, their_dx))
    return [(np.array(a.astype(mx.float32)), b.float().numpy()) for a, b in pairs]


FORMULATIONS = pytest.mark.parametrize(
    "formulation", [contextlib.nullcontext, ops.plain], ids=["tuned", "plain"]
)


@FORMULATIONS
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
@pytest.mark.parametrize("fn", ALONE, ids=lambda fn: fn.__name__)
def test_values_and_slopes_are_pytorchs(fn, dtype, formulation):
    # One number at a time: PyTorch's vectorized kernels differ from its scalar ones at
    # nan (the slope of elu is nan or 1), and overflow a little earlier.
    eps = mx.finfo(dtype).eps
    rtol, atol = (1e-5, 2e-6) if dtype == mx.float32 else (4 * eps, eps / 2)
    with formulation():
        for point in POINTS:
            for ours, theirs in both(fn, THEIRS[fn], [point], dtype):
                np.testing.assert_allclose(
                    ours, theirs, rtol=rtol, atol=atol, err_msg=f"at {point}"
                )


ROWS = [
    [0.0, 0.0, 0.0, 0.0],
    [-inf, 0.0, 1.0, -1.0],
    [-inf, -inf, 2.0, -inf],
    [-inf, -inf, -inf, -inf],
    [inf, 0.0, 1.0, 2.0],
    [nan, 0.0, 1.0, 2.0],
    [3e38, -3e38, 0.0, 1.0],
]


@FORMULATIONS
@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize(
    ("fn", "theirs"),
    [
        (nn.softmax, lambda x: F.softmax(x, -1)),
        (nn.softmin, lambda x: F.softmin(x, -1)),
        (nn.log_softmax, lambda x: F.log_softmax(x, -1)),
        (nn.glu, F.glu),
    ],
    ids=["softmax", "softmin", "log_softmax", "glu"],
)
def test_rows_with_special_numbers_are_pytorchs(fn, theirs, row, formulation):
    for rows in (1, 1000):  # few numbers and many have different formulations
        with formulation():
            results = both(fn, theirs, [row] * rows)
        for ours, expected in results:
            np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=2e-6)


@FORMULATIONS
@pytest.mark.parametrize("point", POINTS)
def test_a_prelu_and_the_slope_of_its_weight_are_pytorchs(point, formulation):
    with formulation():
        found = mx.vjp(ops.prelu, [mx.array([point]), mx.array([0.2])], [mx.ones(1)])
    x, weight = (torch.tensor([a], requires_grad=True) for a in (point, 0.2))
    y = F.prelu(x, weight)
    expected = y.detach(), *torch.autograd.grad(y, [x, weight])
    for ours, theirs in zip((*found[0], *found[1]), expected, strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-6)
