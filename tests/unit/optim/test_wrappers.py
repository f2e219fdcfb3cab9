"""Accumulation, skipped updates, lookahead."""

import mlx.core as mx
import pytest

from lucid_fn import optim

PARAMS = {"w": mx.array([1.0, 2.0])}


def grads(*values):
    return {"w": mx.array(values, mx.float32)}


def test_accumulation_moves_at_the_last_micro_batch_only():
    optimizer = optim.accumulate(optim.sgd(1.0), steps=3)
    opt_state = optimizer.init(PARAMS)
    moves = []
    for i in range(6):
        updates, opt_state = optimizer.update(grads(i, 2 * i), opt_state, PARAMS)
        moves.append(updates["w"].tolist())
    assert moves == [[0, 0], [0, 0], [-1, -2], [0, 0], [0, 0], [-4, -8]]
    assert opt_state.total["w"].tolist() == [0, 0]


def test_accumulation_counts_updates_for_schedules():
    optimizer = optim.accumulate(optim.sgd(lambda step: step + 1), steps=2)
    opt_state = optimizer.init(PARAMS)
    for _ in range(4):
        _, opt_state = optimizer.update(grads(1, 1), opt_state, PARAMS)
    assert optim.learning_rate(opt_state).item() == 2


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_gradient_that_is_not_finite_changes_counts_only(bad):
    optimizer = optim.apply_if_finite(optim.adam(0.1))
    updates, good = optimizer.update(grads(1, 1), optimizer.init(PARAMS), PARAMS)
    assert (good.skipped.item(), good.skipped_in_a_row.item()) == (0, 0)
    opt_state = good
    for i in (1, 2):
        updates, opt_state = optimizer.update(grads(1, bad), opt_state, PARAMS)
        assert updates["w"].tolist() == [0, 0]
        assert (opt_state.skipped.item(), opt_state.skipped_in_a_row.item()) == (i, i)
        assert opt_state.inner[1].mu["w"].tolist() == good.inner[1].mu["w"].tolist()
    updates, opt_state = optimizer.update(grads(1, 1), opt_state, PARAMS)
    assert updates["w"][0].item() != 0
    assert (opt_state.skipped.item(), opt_state.skipped_in_a_row.item()) == (2, 0)
    assert opt_state.inner[1].step.item() == 2


def test_lookahead_goes_back_part_of_the_way():
    optimizer = optim.lookahead(optim.sgd(1.0), period=2, alpha=0.25)
    params, opt_state = PARAMS, optimizer.init(PARAMS)
    places = []
    for _ in range(4):
        updates, opt_state = optimizer.update(grads(1, 1), opt_state, params)
        params = optim.apply_updates(params, updates)
        places.append(params["w"][0].item())
    assert places == [0.0, 0.5, -0.5, 0.0]


def test_wrappers_of_wrappers_nest():
    optimizer = optim.apply_if_finite(
        optim.accumulate(optim.lookahead(optim.sgd(1.0), period=1, alpha=0.5), steps=1)
    )
    updates, _ = optimizer.update(grads(1, 2), optimizer.init(PARAMS), PARAMS)
    assert updates["w"].tolist() == [-0.5, -1]
