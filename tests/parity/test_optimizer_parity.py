"""20 steps of each optimizer that PyTorch has, with settings that hypothesis draws.

Both get the same gradients, so that rounding is not amplified by the loss. The bounds
are a few units in the last place of params near 1, added up over the steps.
"""

import functools

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lucid_fn import optim, transforms

torch = pytest.importorskip("torch")

STEPS = 20
SHAPES = {"weight": (4, 3), "bias": (5,), "scale": ()}

rates = st.floats(1e-4, 0.1)
decays = st.floats(0.0, 0.999)
# A second moment of one gradient is as small as that, and its rounding as large.
long_decays = st.floats(0.5, 0.999)
eps = st.floats(1e-10, 1e-3)
weight_decays = st.sampled_from([0.0, 1e-4, 1e-2, 0.3])
momenta = st.floats(0.1, 0.99)
seeds = st.integers(0, 2**32 - 1)


def draw(seed):
    """Params, and a gradient for each step; one number never has any."""
    rng = np.random.default_rng(seed)
    params = {n: rng.normal(size=s).astype(np.float32) for n, s in SHAPES.items()}
    scales = 10.0 ** rng.uniform(-3, 1, STEPS)
    grads = [
        {n: (k * rng.normal(size=s)).astype(np.float32) for n, s in SHAPES.items()}
        for k in scales
    ]
    for g in grads:
        g["bias"][0] = 0.0
    return params, grads


def ours(optimizer, params, grads):
    params = {name: mx.array(p) for name, p in params.items()}
    opt_state = optimizer.init(params)
    for g in grads:
        g = {name: mx.array(x) for name, x in g.items()}
        updates, opt_state = optimizer.update(g, opt_state, params)
        params = optim.apply_updates(params, updates)
    return {name: np.array(p) for name, p in params.items()}, opt_state


def theirs(make, params, grads):
    tensors = {name: torch.tensor(p, requires_grad=True) for name, p in params.items()}
    optimizer = make(list(tensors.values()))
    for g in grads:
        for name, tensor in tensors.items():
            tensor.grad = torch.tensor(g[name])
        optimizer.step()
    return {name: t.detach().numpy() for name, t in tensors.items()}


def check(optimizer, make, seed, bound=4e-6):
    params, grads = draw(seed)
    got, _ = ours(optimizer, params, grads)
    for name, expected in theirs(make, params, grads).items():
        np.testing.assert_allclose(got[name], expected, rtol=bound, atol=bound)


def thrice(**strategies):
    """Three settings, each with a seed of its own."""

    def decorate(test):
        return settings(max_examples=3)(given(seed=seeds, **strategies)(test))

    return decorate


@thrice(
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


@thrice(lr=rates, momentum=momenta, weight_decay=weight_decays)
def test_sgd_with_nesterov(seed, lr, **kwargs):
    check(
        optim.sgd(lr, nesterov=True, **kwargs),
        functools.partial(torch.optim.SGD, lr=lr, nesterov=True, **kwargs),
        seed,
    )


@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
@thrice(lr=rates, b1=decays, b2=long_decays, eps=eps, weight_decay=weight_decays)
def test_adam_and_adamw(name, amsgrad, seed, lr, b1, b2, **kwargs):
    make = getattr(torch.optim, name)
    check(
        getattr(optim, name.lower())(lr, b1=b1, b2=b2, amsgrad=amsgrad, **kwargs),
        functools.partial(make, lr=lr, betas=(b1, b2), amsgrad=amsgrad, **kwargs),
        seed,
    )


@pytest.mark.parametrize("name", ["Adamax", "RAdam"])
@thrice(lr=rates, b1=decays, b2=long_decays, eps=eps, weight_decay=weight_decays)
def test_adamax_and_radam(name, seed, lr, b1, b2, **kwargs):
    make = getattr(torch.optim, name)
    check(
        getattr(optim, name.lower())(lr, b1=b1, b2=b2, **kwargs),
        functools.partial(make, lr=lr, betas=(b1, b2), **kwargs),
        seed,
        bound=1e-5,
    )


@thrice(
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
@thrice(lr=rates, b1=decays, b2=long_decays, weight_decay=st.floats(1e-2, 1))
def test_decoupled_weight_decay(name, seed, lr, b1, b2, weight_decay):
    kwargs = {"weight_decay": weight_decay, "decoupled_weight_decay": True}
    make = getattr(torch.optim, name)
    check(
        getattr(optim, name.lower())(lr, b1=b1, b2=b2, **kwargs),
        functools.partial(make, lr=lr, betas=(b1, b2), **kwargs),
        seed,
        bound=1e-5,
    )


@thrice(
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


@thrice(
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


@thrice(
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


@thrice(
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


@thrice(
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


@thrice(lr=st.floats(0.1, 2), decay=decays, eps=eps, weight_decay=weight_decays)
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


@thrice(lr=rates, weight_decay=weight_decays, **factored)
def test_adafactor(seed, **kwargs):
    check_adafactor(seed, **kwargs)


@thrice(lr=st.floats(0.3, 1), **factored)
def test_adafactor_whose_rate_falls_as_the_root_of_the_step(seed, **kwargs):
    check_adafactor(seed, **kwargs)


@thrice(
    lr=rates,
    momentum=st.floats(0.1, 0.99),
    nesterov=st.booleans(),
    weight_decay=weight_decays,
)
def test_muon_but_for_the_bfloat16_of_pytorch(seed, lr, **kwargs):
    params, grads = draw(seed)
    params, grads = (
        {"weight": params["weight"]},
        [{"weight": g["weight"]} for g in grads],
    )
    got, _ = ours(optim.muon(lr, **kwargs), params, grads)
    make = functools.partial(torch.optim.Muon, lr=lr, **kwargs)
    expected = theirs(make, params, grads)["weight"]
    # A step has the size of the rate; bfloat16 keeps 8 bits of it.
    np.testing.assert_allclose(got["weight"], expected, rtol=1e-5, atol=lr * STEPS / 50)


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
