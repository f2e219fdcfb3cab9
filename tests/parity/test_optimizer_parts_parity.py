"""Clipping, averages of the params and schedules beside PyTorch's."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lucid_fn import optim
from tests.optimizers import draw, ours, seeds, theirs

torch = pytest.importorskip("torch")


@settings(max_examples=5)
@given(seed=seeds, limit=st.floats(0.01, 10))
def test_clipping(seed, limit):
    params, (grads, *_) = draw(seed)
    mine = {name: mx.array(g) for name, g in grads.items()}
    tensors = [torch.tensor(p, requires_grad=True) for p in params.values()]

    def clipped(clip):
        for tensor, g in zip(tensors, grads.values(), strict=True):
            tensor.grad = torch.tensor(g)
        result = clip(tensors, limit)
        return result, [tensor.grad.numpy() for tensor in tensors]

    by_norm = optim.clip_by_global_norm(limit)
    got, opt_state = by_norm.update(mine, by_norm.init(mine), mine)
    norm, expected = clipped(torch.nn.utils.clip_grad_norm_)
    np.testing.assert_allclose(optim.gradient_norm(opt_state), norm, rtol=1e-6)
    for x, y in zip(got.values(), expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6)

    got, _ = optim.clip_by_value(limit).update(mine, (), mine)
    _, expected = clipped(torch.nn.utils.clip_grad_value_)
    for x, y in zip(got.values(), expected, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_averages_of_the_params(kind):
    params, grads = draw(0)
    average = optim.param_ema(0.9) if kind == "ema" else optim.swa()
    _, opt_state = ours(optim.chain(optim.sgd(0.1), average), params, grads)
    swa_utils = torch.optim.swa_utils
    model = torch.nn.ParameterDict({n: torch.tensor(p) for n, p in params.items()})
    rule = swa_utils.get_ema_multi_avg_fn(0.9) if kind == "ema" else None
    averaged = swa_utils.AveragedModel(model, multi_avg_fn=rule)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    for g in grads:
        for name, p in model.items():
            p.grad = torch.tensor(g[name])
        sgd.step()
        averaged.update_parameters(model)
    got = optim.averaged_params(opt_state)
    for name, expected in averaged.module.items():
        expected = expected.detach().numpy()
        np.testing.assert_allclose(got[name], expected, rtol=1e-5, atol=1e-5)


def test_a_learning_rate_schedule():
    params, grads = draw(0)

    def rate(step):
        return 0.1 * 0.5 ** (step // 5)

    got, _ = ours(
        optim.adam(lambda step: mx.power(0.5, step // 5) * 0.1), params, grads
    )

    def make(tensors):
        optimizer = torch.optim.Adam(tensors, lr=1.0)
        torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        optimizer.register_step_post_hook(lambda *_: scheduler.step())
        return optimizer

    for name, expected in theirs(make, params, grads).items():
        np.testing.assert_allclose(got[name], expected, rtol=4e-6, atol=4e-6)
