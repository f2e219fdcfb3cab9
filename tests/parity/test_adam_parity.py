"""20 steps of Adam and its variants beside PyTorch's, with drawn settings."""

import functools

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import strategies as st

from lucid_fn import optim, transforms
from tests.optimizers import (
    check,
    decays,
    draw,
    eps,
    long_decays,
    rates,
    several,
    theirs,
    weight_decays,
)

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
@several(lr=rates, b1=decays, b2=long_decays, eps=eps, weight_decay=weight_decays)
def test_adam_and_adamw(name, amsgrad, seed, lr, b1, b2, **kwargs):
    make = getattr(torch.optim, name)
    check(
        getattr(optim, name.lower())(lr, b1=b1, b2=b2, amsgrad=amsgrad, **kwargs),
        functools.partial(make, lr=lr, betas=(b1, b2), amsgrad=amsgrad, **kwargs),
        seed,
    )


@pytest.mark.parametrize("name", ["Adamax", "RAdam"])
@several(lr=rates, b1=decays, b2=long_decays, eps=eps, weight_decay=weight_decays)
def test_adamax_and_radam(name, seed, lr, b1, b2, **kwargs):
    make = getattr(torch.optim, name)
    check(
        getattr(optim, name.lower())(lr, b1=b1, b2=b2, **kwargs),
        functools.partial(make, lr=lr, betas=(b1, b2), **kwargs),
        seed,
        bound=1e-5,
    )


@several(
    lr=rates,
    b1=decays,
    b2=long_decays,
    eps=eps,
    weight_decay=weight_decays,
    momentum_decay=st.floats(1e-4, 0.1),
)
def test_nadam(seed, lr, b1, b2, **kwargs):
    check(
        optim.nadam(lr, b1=b1, b2=b2, **kwargs),
        functools.partial(torch.optim.NAdam, lr=lr, betas=(b1, b2), **kwargs),
        seed,
    )


@pytest.mark.parametrize("name", ["NAdam", "RAdam"])
@several(lr=rates, b1=decays, b2=long_decays, weight_decay=st.floats(1e-2, 1))
def test_decoupled_weight_decay(name, seed, lr, b1, b2, weight_decay):
    kwargs = {"weight_decay": weight_decay, "decoupled_weight_decay": True}
    make = getattr(torch.optim, name)
    check(
        getattr(optim, name.lower())(lr, b1=b1, b2=b2, **kwargs),
        functools.partial(make, lr=lr, betas=(b1, b2), **kwargs),
        seed,
        bound=1e-5,
    )


def test_a_compiled_step_of_adam_is_within_one_rounding_a_step():
    params, grads = draw(0)
    optimizer = optim.adam(1e-3, weight_decay=5e-4)

    @functools.partial(transforms.jit, max_traces=1)
    def step(params, opt_state, grads):
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return optim.apply_updates(params, updates), opt_state

    mine = {name: mx.array(p) for name, p in params.items()}
    opt_state = optimizer.init(mine)
    for i, g in enumerate(grads):
        g = {name: mx.array(x) for name, x in g.items()}
        mine, opt_state = step(mine, opt_state, g)
        make = functools.partial(torch.optim.Adam, lr=1e-3, weight_decay=5e-4)
        for name, expected in theirs(make, params, grads[: i + 1]).items():
            ulp = np.spacing(np.maximum(np.abs(expected), 1e-3))
            assert np.all(np.abs(np.array(mine[name]) - expected) <= (i + 1) * ulp)
