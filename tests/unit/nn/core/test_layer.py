"""The contract: pairs of functions, lifted functions, what a missing name says."""

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import nn, tree

X = mx.array([1.0, 2.0])


def scale():
    return nn.parametric(
        lambda key: {"weight": mx.array([3.0, 4.0])}, lambda p, x: x * p["weight"]
    )


def test_a_layer_unpacks_into_init_and_apply(key):
    init, apply = scale()
    params, state = init(key)
    assert state == {} and params["weight"].tolist() == [3.0, 4.0]
    assert apply(params, state, X, train=True)[0].tolist() == [3.0, 8.0]


def test_a_layer_that_is_called_says_how_to_use_it():
    with pytest.raises(TypeError, match=r"y, state = layer.apply\(params, state, x, "):
        scale()(X)  # what one would write in PyTorch


def test_a_lifted_function_has_neither_params_nor_state(key):
    layer = nn.lift(mx.negative)
    assert layer.init(key) == ({}, {})
    y, state = layer.apply({}, {}, X, train=False)
    assert y.tolist() == [-1.0, -2.0] and state == {}


def test_state_passes_through_what_has_none():
    state: dict[str, Any] = {}
    for layer, params in ((nn.lift(mx.abs), {}), (scale(), {"weight": X})):
        assert layer.apply(params, state, X, train=True)[1] is state


def test_numpy_arrays_become_arrays_where_they_enter():
    x = np.ones(2, np.float32)
    y, _ = nn.lift(lambda x: x).apply({}, {}, x, train=True)
    assert isinstance(y, mx.array)
    y, _ = scale().apply({"weight": X}, {}, x, train=True)
    assert y.tolist() == [1.0, 2.0]


LAYERS = {
    "lift": nn.lift(mx.abs),
    "parametric": nn.linear(2, 2),
    "compose": nn.serial(nn.linear(2, 2), nn.dropout(0.5)),
    "dropout": nn.dropout(0.5),
    "batch_norm": nn.batch_norm(2),
    "attention": nn.multi_head_attention(2, 1),
    "frozen": nn.frozen(nn.linear(2, 2)),
    "checkpointed": nn.checkpointed(nn.linear(2, 2)),
    "lstm": nn.lstm(2, 2),
    "scan": nn.scan(nn.rnn_cell(2, 2)),
}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_a_missing_train_is_explained(layer, key):
    params, state = layer.init(key)
    with pytest.raises(
        TypeError,
        match=r"apply: train must be given, .*; call apply\(params, state, x, train=",
    ):
        layer.apply(params, state, mx.ones((3, 2)))


def test_train_is_keyword_only():
    with pytest.raises(TypeError, match="apply: takes params and state and x by pos"):
        nn.lift(mx.abs).apply({}, {}, X, True)


@pytest.mark.parametrize("fn", [3, None, "relu", [mx.abs]])
def test_lift_wants_a_function(fn):
    with pytest.raises(
        TypeError, match=r"lift: fn must be a .* function on arrays, got"
    ):
        nn.lift(fn)


def test_lift_of_a_layer_is_told():
    with pytest.raises(
        TypeError, match=r"lift: fn is a layer already; pass it on without nn\.lift"
    ):
        nn.lift(scale())


@pytest.mark.parametrize("constructor", [nn.linear, nn.dropout, nn.serial])
def test_a_constructor_that_was_not_called_is_told(constructor):
    name = constructor.__name__
    message = (
        rf"lift: fn is `{name}`, a constructor .* as in {name}\(\.\.\.\), and pass"
    )
    with pytest.raises(TypeError, match=message):
        nn.lift(constructor)


def test_a_constructor_without_annotations_is_told_on_apply():
    def my_block(width):
        return nn.linear(2, 2)

    layer = nn.lift(my_block)
    with pytest.raises(
        TypeError, match="lift: fn is `my_block`, a constructor of layers"
    ):
        layer.apply({}, {}, X, train=True)


def test_a_constructor_of_a_module_with_string_annotations_is_told():
    def my_block(width: int) -> "nn.Layer":
        return nn.linear(width, width)

    with pytest.raises(
        TypeError, match="lift: fn is `my_block`, a constructor of layers"
    ):
        nn.lift(my_block)


def test_a_missing_parameter_says_what_there_is():
    with pytest.raises(
        ValueError, match="params must hold 'weight', got bias; were they"
    ):
        scale().apply({"bias": X}, {}, X, train=True)
    with pytest.raises(
        ValueError, match="params must hold 'weight', got nothing; were"
    ):
        scale().apply({}, {}, X, train=True)


def test_another_missing_key_is_not_taken_for_a_parameter():
    table = {"a": 1.0}
    layer = nn.parametric(lambda key: {"w": X}, lambda p, x: x * table["b"])
    with pytest.raises(KeyError, match=r"^'b'$"):
        layer.apply({"w": X}, {}, X, train=True)


@pytest.mark.parametrize("params", [None, (X, X), [X], X, ({"weight": X}, {})])
def test_params_must_be_a_dict(params):
    message = (
        "apply: params must be a dict as init returns it, got .*; init returns the p"
    )
    with pytest.raises(TypeError, match=message):
        scale().apply(params, {}, X, train=True)


def test_the_function_of_a_parametric_layer_may_ask_for_what_is_optional():
    layer = nn.parametric(
        lambda key: {"w": X}, lambda p, x: x * p.get("bias", 2.0) * len(dict(p))
    )
    assert layer.apply({"w": X}, {}, X, train=True)[0].tolist() == [2.0, 4.0]


def test_numpy_arrays_in_named_inputs_become_arrays(key):
    x, start = np.ones((2, 5, 3), np.float32), np.ones((2, 1, 4), np.float32)
    lstm = nn.lstm(3, 4)
    held = lstm.init(key)
    inputs = nn.RecurrentInputs(x, nn.LSTMCarry(start, start), np.array([5, 2]))
    got, _ = lstm.apply(*held, inputs, train=False)
    expected, _ = lstm.apply(*held, tree.map(mx.array, inputs), train=False)
    assert tree.equal(got, expected)

    def forward(inputs, layer):
        assert all(isinstance(part, mx.array) for part in inputs)
        return layer(inputs[0] + inputs[1])

    block = nn.compose(forward, layer=nn.linear(3, 2))
    pair = x, x
    assert block.apply(*block.init(key), pair, train=False)[0].shape == (2, 5, 2)
    assert pair[0] is x
