"""Hyper-parameters in the state."""

import functools
import inspect

import mlx.core as mx
import pytest

from lucid_fn import optim, transforms, tree

PARAMS = {"w": mx.array([1.0, 2.0])}
GRADS = {"w": mx.array([1.0, -1.0])}


def test_setting_one_acts_without_a_new_trace():
    optimizer = optim.inject(optim.sgd, 1.0, weight_decay=0.0)

    @functools.partial(transforms.jit, max_traces=1)
    def step(opt_state):
        return optimizer.update(GRADS, opt_state, PARAMS)

    opt_state = optimizer.init(PARAMS)
    for decay in (0.0, 0.5, 2.0):
        opt_state = optim.set_hyperparameters(opt_state, weight_decay=decay)
        updates, opt_state = step(opt_state)
        assert updates["w"].tolist() == [-1 - decay, 1 - 2 * decay]


def test_a_schedule_gives_the_value_of_the_step():
    optimizer = optim.inject(optim.sgd, 0.1, momentum=lambda step: 0.1 * (step + 1))
    opt_state = optimizer.init(PARAMS)
    seen = []
    for _ in range(3):
        _, opt_state = optimizer.update(GRADS, opt_state, PARAMS)
        seen.append(optim.hyperparameters(opt_state)["momentum"].item())
    assert seen == pytest.approx([0.1, 0.2, 0.3])
    expected = ((1 * 0.2) + 1) * 0.3 + 1
    trace = opt_state.inner[1].trace["w"][0].item()
    assert trace == pytest.approx(expected)


def test_integers_bools_and_the_learning_rate_are_passed_on():
    optimizer = optim.inject(
        optim.muon, learning_rate=0.5, nesterov=False, steps=2, momentum=0.5
    )
    opt_state = optimizer.init({"w": mx.ones((2, 2))})
    assert list(optim.hyperparameters(opt_state)) == ["momentum"]
    assert optim.learning_rate(opt_state).item() == 0.5


def test_an_integer_for_a_number_is_injected_as_one():
    opt_state = optim.inject(optim.adam, 0.1, b1=0.5, weight_decay=0).init(PARAMS)
    assert list(optim.hyperparameters(opt_state)) == ["b1"]


def test_the_values_have_names_in_checkpoints():
    paths = tree.paths(optim.inject(optim.adam, 0.1, b1=0.5).init(PARAMS))
    assert "hyperparameters.b1" in paths


def test_an_array_given_at_construction_is_injected():
    opt_state = optim.inject(optim.adam, 0.1, b1=mx.array(0.5)).init(PARAMS)
    assert optim.hyperparameters(opt_state)["b1"].item() == 0.5


def has_a_rate(value):
    found = inspect.isfunction(value) and [*inspect.signature(value).parameters]
    return bool(found) and found[0] == "learning_rate"


@pytest.mark.parametrize("name", [n for n, x in vars(optim).items() if has_a_rate(x)])
def test_every_number_of_an_optimizer_can_be_injected(name):
    make = getattr(optim, name)
    numbers = {
        name: p.default
        for name, p in inspect.signature(make).parameters.items()
        if isinstance(p.default, float) and name != "learning_rate"
    }
    injected, plain = optim.inject(make, 0.1, **numbers), make(0.1)
    params = grads = {"w": mx.array([[1.0, -0.5], [2.0, 0.25]])}
    states = [injected.init(params), plain.init(params)]
    for _ in range(3):
        (got, states[0]), (expected, states[1]) = (
            optimizer.update(grads, opt_state, params)
            for optimizer, opt_state in zip((injected, plain), states, strict=True)
        )
    assert optim.hyperparameters(states[0]).keys() == numbers.keys()
    assert mx.allclose(got["w"], expected["w"], rtol=1e-4, atol=1e-6).item()
