"""20 steps of each optimizer that PyTorch has, with settings that hypothesis draws.

Both get the same gradients, so that rounding is not amplified by the loss.
"""

import functools

import numpy as np
import pytest
from hypothesis import strategies as st

from lucid_fn import optim
from tests.optimizers import (
    STEPS,
    check,
    decays,
    draw,
    eps,
    long_decays,
    momenta,
    ours,
    rates,
    several,
    theirs,
    weight_decays,
)

torch = pytest.importorskip("torch")


@several(
    lr=rates,
    momentum=st.just(0.0) | momenta,
    dampening=st.floats(0, 1),
    weight_decay=weight_decays,
)
def test_sgd(seed, lr, **kwargs):
    check(
        optim.sgd(lr, **kwargs),
        functools.partial(torch.optim.SGD, lr=lr, **kwargs),
        seed,
    )


@several(lr=rates, momentum=momenta, weight_decay=weight_decays)
def test_sgd_with_nesterov(seed, lr, **kwargs):
    check(
        optim.sgd(lr, nesterov=True, **kwargs),
        functools.partial(torch.optim.SGD, lr=lr, nesterov=True, **kwargs),
        seed,
    )


@several(
    lr=rates,
    eta_minus=st.floats(0.1, 0.9),
    eta_plus=st.floats(1.01, 3),
    least=st.floats(1e-6, 1e-2),
    most=st.floats(1e-2, 1),
)
def test_rprop(seed, lr, eta_minus, eta_plus, least, most):
    optimizer = optim.rprop(
        lr,
        eta_minus=eta_minus,
        eta_plus=eta_plus,
        min_step_size=least,
        max_step_size=most,
    )
    make = functools.partial(
        torch.optim.Rprop, lr=lr, etas=(eta_minus, eta_plus), step_sizes=(least, most)
    )
    check(optimizer, make, seed)


@several(
    lr=rates,
    lambd=st.just(0.0) | st.floats(1e-4, 1),
    alpha=st.floats(0, 2),
    t0=st.integers(0, 2 * STEPS),
    weight_decay=weight_decays,
)
def test_asgd_and_its_average(seed, lr, **kwargs):
    params, grads = draw(seed)
    got, opt_state = ours(optim.asgd(lr, **kwargs), params, grads)
    averages = optim.averaged_params(opt_state)
    kept = []

    def make(tensors):
        optimizer = torch.optim.ASGD(tensors, lr=lr, **kwargs)
        optimizer.register_step_post_hook(
            lambda *_: kept.append([optimizer.state[p]["ax"] for p in tensors])
        )
        return optimizer

    expected = theirs(make, params, grads)
    for name, ax in zip(expected, kept[-1], strict=True):
        np.testing.assert_allclose(got[name], expected[name], rtol=4e-6, atol=4e-6)
        np.testing.assert_allclose(averages[name], ax.numpy(), rtol=4e-6, atol=4e-6)


@several(
    lr=rates,
    decay=long_decays,
    eps=eps,
    weight_decay=weight_decays,
    momentum=st.just(0.0) | momenta,
)
def test_rmsprop(seed, lr, decay, **kwargs):
    check(
        optim.rmsprop(lr, decay=decay, **kwargs),
        functools.partial(torch.optim.RMSprop, lr=lr, alpha=decay, **kwargs),
        seed,
    )


@several(
    lr=rates,
    decay=long_decays,
    eps=eps,
    weight_decay=weight_decays,
    momentum=st.just(0.0) | momenta,
)
def test_centered_rmsprop(seed, lr, decay, **kwargs):
    check(
        optim.rmsprop(lr, decay=decay, centered=True, **kwargs),
        functools.partial(
            torch.optim.RMSprop, lr=lr, alpha=decay, centered=True, **kwargs
        ),
        seed,
        bound=2e-5,
    )


@several(
    lr=rates,
    eps=eps,
    weight_decay=weight_decays,
    lr_decay=st.sampled_from([0.0, 1e-3, 0.5]),
    initial=st.sampled_from([0.0, 0.1]),
)
def test_adagrad(seed, lr, initial, **kwargs):
    check(
        optim.adagrad(lr, initial=initial, **kwargs),
        functools.partial(
            torch.optim.Adagrad, lr=lr, initial_accumulator_value=initial, **kwargs
        ),
        seed,
    )


@several(lr=st.floats(0.1, 2), decay=decays, eps=eps, weight_decay=weight_decays)
def test_adadelta(seed, lr, decay, **kwargs):
    check(
        optim.adadelta(lr, decay=decay, **kwargs),
        functools.partial(torch.optim.Adadelta, lr=lr, rho=decay, **kwargs),
        seed,
    )


def check_adafactor(seed, lr, decay_power, eps, least, clipping, weight_decay=0.0):
    optimizer = optim.adafactor(
        lr,
        decay_power=decay_power,
        eps=eps,
        min_param_rms=least,
        clipping=clipping,
        weight_decay=weight_decay,
    )
    make = functools.partial(
        torch.optim.Adafactor,
        lr=lr,
        beta2_decay=-decay_power,
        eps=(eps, least),
        d=clipping,
        weight_decay=weight_decay,
    )
    check(optimizer, make, seed)


factored = {
    "decay_power": st.floats(0.1, 1),
    "eps": st.floats(1e-7, 1e-3),
    "least": st.floats(1e-4, 1e-1),
    "clipping": st.floats(1, 3),
}


@several(lr=rates, weight_decay=weight_decays, **factored)
def test_adafactor(seed, **kwargs):
    check_adafactor(seed, **kwargs)


@several(lr=st.floats(0.3, 1), **factored)
def test_adafactor_whose_rate_falls_as_the_root_of_the_step(seed, **kwargs):
    check_adafactor(seed, **kwargs)


@several(
    lr=rates,
    momentum=st.floats(0.1, 0.99),
    nesterov=st.booleans(),
    weight_decay=weight_decays,
    adjust_lr=st.sampled_from(["original", "match_rms_adamw"]),
    coefficients=st.sampled_from([(3.4445, -4.775, 2.0315), (1.875, -1.25, 0.375)]),
    steps=st.integers(1, 6),
)
def test_muon_but_for_the_bfloat16_of_pytorch(seed, lr, adjust_lr, **kwargs):
    params, grads = draw(seed)
    params, grads = (
        {"weight": params["weight"]},
        [{"weight": g["weight"]} for g in grads],
    )
    got, _ = ours(optim.muon(lr, adjust_lr=adjust_lr, **kwargs), params, grads)
    kwargs["adjust_lr_fn"] = adjust_lr
    for name in ("coefficients", "steps"):
        kwargs[f"ns_{name}"] = kwargs.pop(name)
    make = functools.partial(torch.optim.Muon, lr=lr, **kwargs)
    expected = theirs(make, params, grads)["weight"]
    # A step has the size of the rate; bfloat16 keeps 8 bits of it.
    np.testing.assert_allclose(got["weight"], expected, rtol=1e-5, atol=lr * STEPS / 50)
