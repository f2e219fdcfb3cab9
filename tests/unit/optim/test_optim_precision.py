"""Where float32 would lose digits, and what is kept in it for 16-bit params."""

import math

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import jit, optim, tree
from lucid_fn.optim import norms
from lucid_fn.optim.moments import bias_correction, once
from lucid_fn.optim.rectified import _lengths


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

    assert "CompiledExp" not in kernels(once)
    assert "Exp" in kernels(once)


def test_every_state_is_a_tree_of_arrays():
    params = {"w": mx.ones((2, 3))}
    for make in (optim.adam, optim.lars, optim.adafactor, optim.schedule_free_adamw):
        for leaf in tree.leaves(make(0.1).init(params)):
            assert isinstance(leaf, mx.array)


def test_a_learning_rate_keeps_its_digits_beside_float64_params():
    with mx.stream(mx.cpu):
        params = {"w": mx.array([1.0, 2.0], mx.float64), "b": mx.array([1.0])}
        optimizer = optim.sgd(0.1)
        opt_state = optimizer.init(params)
        updates, opt_state = jit(optimizer.update)(params, opt_state, params)
        assert updates["w"].tolist() == [-0.1, -0.2]
        assert updates["b"].dtype == mx.float32
        opt_state = optim.set_learning_rate(opt_state, 0.3)
        assert optim.learning_rate(opt_state).item() == 0.3
