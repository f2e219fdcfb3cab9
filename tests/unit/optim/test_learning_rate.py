"""The learning rate: in the state, readable, settable, from a schedule."""

import functools

import mlx.core as mx
import pytest

from lucid_fn import optim, transforms, tree

PARAMS = {"w": mx.array([1.0, 2.0])}
GRADS = {"w": mx.array([1.0, -1.0])}


def test_setting_it_does_not_trace_a_compiled_step_anew():
    optimizer = optim.sgd(0.5)

    @functools.partial(transforms.jit, max_traces=1)
    def step(opt_state):
        return optimizer.update(GRADS, opt_state, PARAMS)

    opt_state = optimizer.init(PARAMS)
    for rate in (0.5, 0.25, 0.125):
        opt_state = optim.set_learning_rate(opt_state, rate)
        updates, opt_state = step(opt_state)
        assert updates["w"].tolist() == [-rate, rate]


def test_it_is_found_inside_wrappers():
    optimizer = optim.accumulate(
        optim.chain(optim.clip_by_value(1.0), optim.lookahead(optim.adam(0.5))), steps=2
    )
    opt_state = optimizer.init(PARAMS)
    assert optim.learning_rate(opt_state).item() == 0.5
    changed = optim.set_learning_rate(opt_state, 0.25)
    assert optim.learning_rate(changed).item() == 0.25
    assert optim.learning_rate(opt_state).item() == 0.5


def test_setting_it_changes_nothing_else():
    opt_state = optim.adam(0.5).init(PARAMS)
    changed = optim.set_learning_rate(opt_state, 0.25)
    before, after = tree.named_leaves(opt_state), tree.named_leaves(changed)
    assert before.keys() == after.keys()
    different = [n for n in before if not mx.array_equal(before[n], after[n]).item()]
    assert different == ["2.learning_rate"]


def test_a_stack_of_states_has_a_stack_of_rates():
    stack = tree.map(lambda x: mx.stack([x, x]), optim.sgd(0.5).init(PARAMS))
    stack = optim.set_learning_rate(stack, mx.array([0.1, 0.2]))
    assert optim.learning_rate(stack).tolist() == pytest.approx([0.1, 0.2])


def test_a_schedule_is_called_with_the_step_from_0():
    optimizer = optim.sgd(lambda step: step + 1)
    opt_state = optimizer.init(PARAMS)
    seen = [optim.learning_rate(opt_state).item()]
    for _ in range(3):
        updates, opt_state = optimizer.update(GRADS, opt_state, PARAMS)
        seen.append(optim.learning_rate(opt_state).item())
        assert updates["w"][0].item() == -seen[-1]
    assert seen == [1, 1, 2, 3]


def test_an_array_is_a_constant_that_can_be_set():
    opt_state = optim.sgd(mx.array(0.5)).init(PARAMS)
    assert optim.learning_rate(optim.set_learning_rate(opt_state, 2.0)).item() == 2.0


def test_decoupled_decay_shrinks_the_params_first():
    optimizer = optim.scale_by_learning_rate(0.5, weight_decay=0.5)
    updates, _ = optimizer.update(GRADS, optimizer.init(PARAMS), PARAMS)
    params = optim.apply_updates(PARAMS, updates)
    assert params["w"].tolist() == [1 * 0.75 - 0.5, 2 * 0.75 + 0.5]
