"""Convolution against PyTorch in float64."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lucid_fn import ops
from tests.convolutions import WINOGRAD_BOUND, Case, cases, relative_error

torch = pytest.importorskip("torch")


def _exact(case: Case, bias: mx.array) -> list[mx.array]:
    """Output and gradients in x, weight and bias."""
    x, weight, g = (
        torch.tensor(np.array(a.transpose(0, 3, 1, 2)), dtype=torch.float64)
        for a in (case.x, case.weight, case.g)
    )
    offset = torch.tensor(np.array(bias), dtype=torch.float64)
    leaves = [leaf.requires_grad_() for leaf in (x, weight, offset)]
    (top, bottom), (left, right) = case.geometry.padding
    y = torch.nn.functional.conv2d(
        torch.nn.functional.pad(x, (left, right, top, bottom)),
        weight,
        offset,
        stride=case.geometry.stride,
        dilation=case.geometry.dilation,
        groups=case.geometry.groups,
    )
    images = [y.detach(), *torch.autograd.grad(y, leaves, g)]
    return [
        mx.array((a.permute(0, 2, 3, 1) if a.ndim == 4 else a).float().numpy())
        for a in images
    ]


@given(st.one_of(cases(), cases(winograd=True), cases(groups=2), cases(groups=4)))
@settings(max_examples=40)
def test_outputs_and_gradients_are_those_of_pytorch(case):
    bias = mx.arange(case.g.shape[-1], dtype=mx.float32)
    conv = lambda x, weight, bias: ops.conv2d(x, weight, bias, **case.options)  # noqa: E731
    (y,), grads = mx.vjp(conv, [case.x, case.weight, bias], [case.g])
    for found, expected in zip([y, *grads], _exact(case, bias), strict=True):
        assert relative_error(found, expected) < WINOGRAD_BOUND
