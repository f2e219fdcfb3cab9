"""Calls of layers and optimizers with other arguments: the error says how to call."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import nn, random
from tests.registry.case import over
from tests.registry.layers import LAYERS
from tests.registry.optimizers import OPTIMIZERS, PARTS

KEY = random.key(0)
X = mx.ones((2, 3))


@over(LAYERS)
def test_init_takes_a_key_alone(case):
    layer, (x,) = case.make(), case.inputs(np.random.default_rng(0))
    for args, options, problem in (
        ((KEY, x), {}, "takes key alone"),
        ((), {}, "needs key"),
        ((), {"key": KEY}, "takes key by position"),
        ((), {"rng": KEY}, "'rng' is called key here"),
    ):
        with pytest.raises(TypeError, match=f"^init: {problem}; write init.key., wit"):
            layer.init(*args, **options)


@over(LAYERS)
def test_apply_takes_params_state_and_input_by_position(case):
    layer, (x,) = case.make(), case.inputs(np.random.default_rng(0))
    params, state = layer.init(KEY)
    write = r"; write apply\(params, state, x, \*, train, key=None\)$"
    for args, options, problem in (
        ((params, x), {}, "takes params and .* by position, got 2 of them"),
        ((params, x), {"train": True}, "takes params and .* by position, got 2"),
        (
            (params, state, x, True),
            {},
            "takes .*, and the others by name, as in .*True",
        ),
        (
            (params, state, x),
            {"training": True},
            "has no argument 'training' .did you mean train",
        ),
        ((params, state, x), {"train": True, "rngs": KEY}, "'rngs' is called key"),
        ((params, state), {"x": x, "train": True}, "takes x by position"),
    ):
        with pytest.raises(TypeError, match=f"^apply: {problem}.*{write}"):
            layer.apply(*args, **options)


def test_children_are_called_alike():
    model = nn.serial(nn.compose(lambda x, child: child(x), child=nn.linear(3, 2)))
    with pytest.raises(TypeError, match=r"^init: takes key alone"):
        model.init(KEY, X)
    params, _state = model.init(KEY)
    with pytest.raises(TypeError, match=r"^apply: takes params and state and x by"):
        model.apply(params, X, train=False)


@over(OPTIMIZERS + PARTS)
def test_optimizers_say_how_they_are_called(case):
    optimizer, params = case.make(), {"weight": X}
    opt_state = optimizer.init(params)
    for args, problem in (((), "needs params"), ((params, X), "takes params alone")):
        with pytest.raises(TypeError, match=f"^init: {problem}; write init.params."):
            optimizer.init(*args)
    write = r"; write update\(grads, opt_state, params=None\)"
    for args, options, problem in (
        ((params,), {}, "needs opt_state"),
        ((params, opt_state), {"params": params}, "takes params by position"),
        ((params, opt_state, params, X), {}, "takes grads and opt_state and params al"),
    ):
        with pytest.raises(TypeError, match=f"^update: {problem}.*{write}"):
            optimizer.update(*args, **options)
