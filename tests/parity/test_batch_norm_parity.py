"""Batch norm against PyTorch: outputs, gradients and running statistics, by step."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, strategies as st

import lucid_fn as lf
from lucid_fn import nn

torch = pytest.importorskip("torch")
from tests.parity.layouts import (  # noqa: E402  # needs torch
    assert_close,
    grads_of,
    params_of,
    state_of,
    to_mlx,
    to_torch,
)

settings_of_batch_norm = st.fixed_dictionaries(
    {
        "momentum": st.sampled_from([0.1, 0.5, 1.0, None]),
        "eps": st.sampled_from([1e-5, 1e-3]),
        "affine": st.booleans(),
        "bias": st.booleans(),
        "track_running_stats": st.booleans(),
    }
)
shapes = st.sampled_from([(5, 3), (4, 6, 3), (2, 5, 4, 3), (2, 3, 2, 2, 3)])


def module(shape, **options):
    kind = {2: "1d", 3: "1d", 4: "2d", 5: "3d"}[len(shape)]
    return getattr(torch.nn, f"BatchNorm{kind}")(shape[-1], **options)


@given(settings_of_batch_norm, shapes, st.integers(0, 2**32 - 1))
def test_batch_norm_is_pytorchs_for_three_steps_and_in_eval(options, shape, seed):
    rng = np.random.default_rng(seed)
    theirs, layer = module(shape, **options), nn.batch_norm(shape[-1], **options)
    for parameter in theirs.parameters():
        parameter.data = torch.tensor(rng.normal(size=3).astype(np.float32))
    params, state = params_of(theirs), layer.init(mx.random.key(0))[1]

    def loss(args, state, g):
        y, state = layer.apply(*args[:1], state, args[1], train=True)
        return mx.sum(y * g), (y, state)

    for _ in range(3):
        x, g = rng.normal(3, 2, (2, *shape)).astype(np.float32)
        (_, (y, state)), (grads, dx) = lf.value_and_grad(loss, has_aux=True)(
            (params, mx.array(x)), state, mx.array(g)
        )
        their_x = to_torch(x).requires_grad_()
        theirs.zero_grad()
        their_y = theirs(their_x)
        their_y.backward(to_torch(g))
        assert_close(y, to_mlx(their_y))
        assert_close(dx, to_mlx(their_x.grad))
        assert_close(grads, grads_of(theirs))
        assert_close(state, state_of(theirs))
    theirs.eval()
    x = rng.normal(size=shape).astype(np.float32)
    y, _ = layer.apply(params, state, mx.array(x), train=False)
    assert_close(y, to_mlx(theirs(to_torch(x))))


def test_reestimated_statistics_are_those_of_update_bn():
    rng = np.random.default_rng(0)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(4, 5), torch.nn.BatchNorm1d(5, momentum=0.001), torch.nn.ReLU()
    )
    layer = nn.serial(nn.linear(4, 5), nn.batch_norm(5, momentum=0.001), nn.relu)
    batches = rng.normal(size=(7, 6, 4)).astype(np.float32)
    torch.optim.swa_utils.update_bn(map(torch.tensor, batches), theirs)
    _, state = layer.init(mx.random.key(0))
    state = nn.update_batch_norm(
        layer, params_of(theirs), state, map(mx.array, batches)
    )
    assert_close(state, state_of(theirs))


def test_the_variance_keeps_its_digits_far_from_zero():
    x = np.random.default_rng(0).normal(1e3, 1, (4096, 3)).astype(np.float32)
    y, _ = nn.batch_norm(3).apply(
        *nn.batch_norm(3).init(mx.random.key(0)), mx.array(x), train=True
    )
    double = torch.nn.BatchNorm1d(3, dtype=torch.float64)
    np.testing.assert_allclose(
        np.array(y),
        double(torch.tensor(x.astype(np.float64))).detach(),
        rtol=0,
        atol=5e-4,  # 8 units in the last place of a mean of 1000
    )
