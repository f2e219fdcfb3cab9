"""Averages of the params."""

import mlx.core as mx
import pytest

from lucid_fn import optim

START = {"w": mx.array(10.0)}
GRADS = {"w": mx.array(1.0)}


def run(average, count, params=START):
    optimizer = optim.chain(optim.sgd(1.0), average)
    opt_state = optimizer.init(params)
    for _ in range(count):
        grads = {"w": GRADS["w"].astype(params["w"].dtype)}
        updates, opt_state = optimizer.update(grads, opt_state, params)
        params = optim.apply_updates(params, updates)
    return optim.averaged_params(opt_state)["w"], opt_state


@pytest.mark.parametrize(
    "average", [optim.param_ema(0.5), optim.swa(), optim.swa(start=5)]
)
def test_before_any_update_it_is_the_params(average):
    assert run(average, 0)[0].item() == 10


def test_ema_begins_with_the_first_params():
    assert [run(optim.param_ema(0.5), i)[0].item() for i in (1, 2, 3)] == [9, 8.5, 7.75]


def test_ema_of_decay_0_is_the_params():
    assert run(optim.param_ema(0.0), 4)[0].item() == 6


def test_swa_is_the_params_until_it_starts():
    swa = optim.swa(start=2)
    assert [run(swa, i)[0].item() for i in (1, 2, 3, 4)] == [9, 8, 7, 6.5]


def test_swa_counts_what_it_averaged():
    average, (_, state) = run(optim.swa(start=1, period=2), 6)
    assert state.averaged.item() == 3  # after updates 1, 3 and 5
    assert average.item() == pytest.approx((8 + 6 + 4) / 3)


def test_the_average_of_bfloat16_params_moves():
    start = {"w": mx.array(1.0, mx.bfloat16)}
    optimizer = optim.chain(optim.sgd(1e-2), optim.param_ema(0.999))
    params, opt_state = start, optimizer.init(start)
    for _ in range(20):
        updates, opt_state = optimizer.update(start, opt_state, params)
        params = optim.apply_updates(params, updates)
    average = optim.averaged_params(opt_state)["w"]
    assert average.dtype == mx.float32
    assert 0.985 < average.item() < 0.9922  # bfloat16 has nothing between these two


@pytest.mark.parametrize("average", [optim.param_ema(0.9), optim.swa()])
def test_an_average_before_the_optimizer_is_an_error(average):
    params = {"w": mx.array(0.0)}
    inner = optim.chain(optim.clip_by_global_norm(1.0), average)
    for early in (average, inner):
        for later in (optim.sgd(0.1), optim.clip_by_value(1.0)):
            with pytest.raises(ValueError, match=r"param_ema and swa, must come last"):
                optim.chain(early, later).init(params)
    optim.chain(optim.sgd(0.1), inner, optim.swa(), average).init(params)
