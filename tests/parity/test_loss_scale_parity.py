"""Dynamic loss scaling against torch.amp.GradScaler, step by step."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import optim

torch = pytest.importorskip("torch")

# "f": finite, "i": an infinity, "n": a NaN
RUNS = ["fffffffff", "fifnffffiffffff", "iiiiff", "fff" * 8]


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("init_scale", [2.0**16, 1.0, 2.0**126])
def test_scales_and_params_are_those_of_grad_scaler(run, init_scale):
    options = {"growth_factor": 2.0, "backoff_factor": 0.25, "growth_interval": 3}
    scaler = torch.amp.GradScaler("cpu", init_scale=init_scale, **options)
    tensor = torch.tensor([1.0, -2.0], requires_grad=True)
    theirs = torch.optim.Adam([tensor], 0.1)
    scaler.scale(torch.tensor(1.0))  # its scale is made at the first use
    optimizer = optim.dynamic_loss_scale(
        optim.adam(0.1), init_scale=init_scale, **options
    )
    params = {"w": mx.array([1.0, -2.0])}
    opt_state = optimizer.init(params)
    rng = np.random.default_rng(0)
    for kind in run:
        loss_scale = scaler.get_scale()
        grads = (rng.uniform(0.1, 1, 2) * loss_scale).astype(np.float32)
        grads[1] = {"f": grads[1], "i": np.inf, "n": np.nan}[kind]
        tensor.grad = torch.tensor(grads)
        scaler.step(theirs)
        scaler.update()
        updates, opt_state = optimizer.update({"w": mx.array(grads)}, opt_state, params)
        params = optim.apply_updates(params, updates)
        assert optim.loss_scale(opt_state).item() == scaler.get_scale()
        assert opt_state.growth_tracker.item() == scaler._get_growth_tracker()
        np.testing.assert_allclose(
            np.array(params["w"]), tensor.detach().numpy(), rtol=4e-6, atol=4e-6
        )
