"""Plain functions that serve as layers, called as PyTorch's modules are."""

import inspect
from functools import partial

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import nn, random


def _alone(fn) -> bool:
    """Whether a function takes `x`, and nothing else that it needs."""
    x, *others = inspect.signature(fn).parameters.values()
    return x.name == "x" and all(o.default is not o.empty for o in others)


FUNCTIONS = [
    name
    for name, fn in vars(nn).items()
    if inspect.isfunction(fn) and inspect.signature(fn).parameters and _alone(fn)
]


def test_there_are_such_functions():
    assert {"relu", "softmax", "flatten", "identity", "glu"} < set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_call_without_an_array_says_to_leave_the_call_out(name):
    text = f"^{name}: x is missing; as a layer of a model, give the function itself: "
    with pytest.raises(TypeError, match=text + rf"{name}, not {name}\(\)$"):
        getattr(nn, name)()


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "identity"])
def test_an_array_of_another_library_is_named(name):
    with pytest.raises(TypeError, match=f"{name}: x must be an MLX array, got ndarray"):
        getattr(nn, name)(np.ones((1, 2, 2, 2), np.float32))


@pytest.mark.parametrize(
    ("call", "layer"),
    [
        (partial(nn.leaky_relu, 0.2), r"partial\(leaky_relu, negative_slope=0.2\)"),
        (partial(nn.softmax, axis=1), r"partial\(softmax, axis=1\)"),
        (partial(nn.hard_tanh, 0, 6), r"partial\(hard_tanh, low=0, high=6\)"),
    ],
)
def test_an_option_without_an_array_says_how_to_bind_it(call, layer):
    with pytest.raises(TypeError, match=f"; as a layer .* give functools.{layer}$"):
        call()


def test_what_the_message_says_is_a_layer():
    model = nn.serial(nn.flatten, partial(nn.leaky_relu, negative_slope=0.5))
    params, state = model.init(random.key(0))
    y, _ = model.apply(params, state, mx.array([[[-2.0]], [[4.0]]]), train=True)
    assert y.tolist() == [[-1.0], [4.0]]
