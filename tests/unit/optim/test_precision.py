"""Where float32 would lose digits, and what is kept in it for 16-bit params."""

import math

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import optim, schedules, tree
from lucid_fn.optim import norms
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import bias_correction
from lucid_fn.optim.radam import _lengths


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999])
def test_bias_corrections_keep_their_digits(decay):
    for step in (1, 2, 3, 10, 100, 10_000):
        got = bias_correction(decay, mx.array(step)).item()
        assert got == pytest.approx(1 - decay**step, rel=4e-7)


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.99, 0.999, 0.9999])
def test_radams_lengths_keep_their_digits(decay):
    for step in (1, 2, 5, 6, 7, 20, 100, 1000, 10_000):
        with np.errstate(all="ignore"):
            limit = 2 / (1 - decay) - 1
            power = decay**step
            length = limit - 2 * step * power / -math.expm1(step * math.log(decay))
        got, got_limit = _lengths(decay, mx.array(step))
        assert got.item() == pytest.approx(length, rel=2e-6)
        assert got_limit.item() == pytest.approx(limit, rel=2e-6)


NEAR_1 = {
    "adafactor": lambda: optim.scale_by_factored_rms(1.5),
    "ademamix": lambda: optim.scale_by_ademamix(b3=0.9999999),
    "nadam": lambda: optim.nadam(0.1, b1=0.99999, momentum_decay=100.0),
    "novograd": lambda: optim.novograd(0.1, b1=0.0, b2=0.999999),
    "param_ema": lambda: optim.chain(optim.sgd(0.1), optim.param_ema(0.999999)),
    "prodigy": lambda: optim.prodigy(b2=0.999999, initial_distance=1e-3),
    "scale_by_adam": lambda: optim.scale_by_adam(0.99999, 0.999999),
    "schedule_free": lambda: optim.schedule_free_sgd(0.1, b1=0.9999),
    "trace": lambda: optim.trace(0.5, dampening=0.999999),
}


@pytest.mark.parametrize("name", NEAR_1)
def test_complements_of_decays_near_1_keep_their_digits(name):
    """In float64 they are exact, as far as float32 can tell."""
    found = []
    for dtype in (mx.float32, mx.float64):
        optimizer, rng = NEAR_1[name](), np.random.default_rng(0)
        params = {"w": mx.array(rng.uniform(1, 2, (3, 4)).astype(np.float32), dtype)}
        opt_state = optimizer.init(params)
        for _ in range(8):
            grad = rng.uniform(1, 2, (3, 4)).astype(np.float32)
            grads = {"w": mx.array(grad, dtype)}
            updates, opt_state = optimizer.update(grads, opt_state, params)
            params = optim.apply_updates(params, updates)
        if name == "schedule_free":
            params = optim.schedule_free_params(opt_state, params)
        leaves = tree.leaves((updates, opt_state, params))
        found.append([np.array(x.astype(mx.float32)) for x in leaves])
    for x, y in zip(*found, strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7)


def test_an_average_of_the_params_has_the_weight_that_was_asked_for():
    start, decay = {"w": mx.array(0.0)}, 0.999999
    average = optim.param_ema(decay)
    opt_state, grads = average.init(start), {"w": mx.array(0.0)}
    _, opt_state = average.update(grads, opt_state, start)
    _, opt_state = average.update({"w": mx.array(1.0)}, opt_state, start)
    found = optim.averaged_params(opt_state)["w"].item()
    assert found == pytest.approx(1 - decay, rel=1e-6)


def test_the_average_of_a_schedule_free_optimizer_counts_its_steps():
    """A sum of squared learning rates is 1 % off after a million steps."""
    optimizer, params = optim.schedule_free_sgd(0.1), {"w": mx.array(1.0)}
    opt_state = optimizer.init(params)
    for _ in range(300):
        _, opt_state = optimizer.update(params, opt_state, params)
    assert opt_state.weight_sum.item() == 300


def test_moments_of_bfloat16_params_are_float32_and_move():
    params = {"w": mx.ones(3, mx.bfloat16)}
    optimizer = optim.scale_by_adam(b2=0.999)
    opt_state = optimizer.init(params)
    for scale in (1.0, 0.5):
        for _ in range(3):
            _, opt_state = optimizer.update(
                {"w": scale * params["w"]}, opt_state, params
            )
    assert opt_state.nu["w"].dtype == mx.float32
    expected = 0.0
    for g in (1.0, 1.0, 1.0, 0.5, 0.5, 0.5):
        expected = 0.999 * expected + 0.001 * g * g
    assert opt_state.nu["w"][0].item() == pytest.approx(expected, rel=1e-5)


def test_float64_params_have_float64_states():
    params = {"w": mx.ones(3, mx.float64)}
    opt_state = optim.adam(0.1).init(params)
    assert opt_state[1].mu["w"].dtype == mx.float64


@pytest.mark.parametrize("compile_", [lambda f: f, lf.jit], ids=["eager", "jit"])
def test_float64_params_move_by_float64_numbers(compile_):
    decay = schedules.exponential_decay(0.1, gamma=0.3)
    for optimizer, expected in [
        (optim.sgd(0.1, weight_decay=0.1), 1.0 - 0.1 * (0.7 + 0.1)),
        (optim.sgd(mx.array(0.1, mx.float64)), 1.0 - 0.1 * 0.7),
        (optim.sgd(decay), 1.0 - 0.1 * 0.7),
        (optim.sgd(lambda step: 0.1 + 0.1 * step), 1.0 - 0.1 * 0.7),
        (optim.inject(optim.sgd, 0.1, weight_decay=0.1), 1.0 - 0.1 * (0.7 + 0.1)),
        (optim.adam(0.1, eps=0.1), 1.0 - 0.1 * 0.7 / (0.7 + 0.1)),
        (optim.adamw(0.1, eps=0.1, weight_decay=0.1), 0.99 - 0.1 * 0.7 / (0.7 + 0.1)),
    ]:

        @compile_
        def step(params, opt_state, grads, optimizer=optimizer):
            updates, opt_state = optimizer.update(grads, opt_state, params)
            return optim.apply_updates(params, updates), opt_state

        params = {"w": mx.array(1.0, mx.float64)}
        grads = {"w": mx.array(0.7, mx.float64)}
        new, _ = step(params, optimizer.init(params), grads)
        assert new["w"].item() == pytest.approx(expected, rel=1e-15)


def test_a_learning_rate_that_was_set_is_float64_for_float64_params():
    opt_state = optim.sgd(0.5).init({"w": mx.ones(3, mx.float64)})
    opt_state = optim.set_learning_rate(opt_state, 0.1)
    assert optim.learning_rate(opt_state).item() == 0.1


def test_updates_larger_than_the_dtype_of_the_params_are_rounded_once():
    params = {"w": mx.array(1.0, mx.bfloat16)}
    new = optim.apply_updates(params, {"w": mx.array(2**-9 + 2**-20)})
    assert new["w"].dtype == mx.bfloat16
    assert new["w"].item() == 1.0  # to even would be wrong for more than half
    up = optim.apply_updates(params, {"w": mx.array(2**-8 + 2**-20)})
    assert up["w"].item() == 1 + 2**-7


@pytest.mark.parametrize("size", [0, 1, 1023, 1024, 1025, 1_050_000, 2_359_296])
def test_sums_stay_accurate_for_millions_of_numbers(size):
    x = np.random.default_rng(0).normal(size=size).astype(np.float32)
    exact = math.sqrt(np.sum(x.astype(np.float64) ** 2))
    assert norms.norm(mx.array(x)).item() == pytest.approx(exact, rel=5e-7)


def test_the_clipped_norm_of_a_large_weight_is_the_limit():
    grads = {"w": mx.array(np.ones(2_000_003, np.float32))}
    clip = optim.clip_by_global_norm(1.0)
    clipped, opt_state = clip.update(grads, clip.init(grads), grads)
    assert optim.gradient_norm(opt_state).item() == pytest.approx(2_000_003**0.5)
    assert np.linalg.norm(np.array(clipped["w"], np.float64)) == pytest.approx(1)


def test_a_scalar_is_not_fused_into_what_it_multiplies(tmp_path):
    def kernels(barrier):
        def scaled(x, step):
            return x * barrier(mx.exp(step)), x + barrier(mx.exp(step))

        path = tmp_path / "graph.dot"
        mx.export_to_dot(str(path), *mx.compile(scaled)(mx.ones(5), mx.array(2.0)))
        return path.read_text()

    assert "CompiledExp" not in kernels(end_kernel)
    assert "Exp" in kernels(end_kernel)


def test_every_state_is_a_tree_of_arrays():
    params = {"w": mx.ones((2, 3))}
    for make in (optim.adam, optim.lars, optim.adafactor, optim.schedule_free_adamw):
        for leaf in tree.leaves(make(0.1).init(params)):
            assert isinstance(leaf, mx.array)
