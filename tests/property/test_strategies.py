"""The strategies draw what they promise: laws over nothing would hold."""

import mlx.core as mx
from hypothesis import find, given, settings, strategies as st

from lucid_fn import tree
from tests import strategies


@given(strategies.arrays(bound=2.0))
def test_arrays_are_bounded_floats(x):
    assert x.dtype == mx.float32 and x.size > 0
    assert mx.max(mx.abs(x)).item() <= 2.0


@given(strategies.params())
def test_params_are_nested_dicts_of_float_arrays(params):
    assert isinstance(params, dict) and tree.leaves(params)
    assert all(leaf.dtype == mx.float32 for leaf in tree.leaves(params))


def holds(node, kind):
    children = node.values() if isinstance(node, dict) else node
    return isinstance(node, kind) or (
        isinstance(node, dict | list | tuple) and any(holds(c, kind) for c in children)
    )


def test_trees_hold_every_kind_of_node():
    for kind in (dict, list, strategies.Pair, type(None), int):
        find(strategies.trees(), lambda t, kind=kind: holds(t, kind))
    find(strategies.trees(), lambda t: isinstance(t, dict) and len(tree.leaves(t)) > 3)


@given(st.data(), strategies.trees())
def test_a_reordered_tree_is_the_same_tree(data, values):
    assert strategies.reordered(data.draw, values) == values


@settings(max_examples=10)
@given(strategies.layers(), strategies.keys())
def test_layers_keep_the_shape_of_their_input(layer, key):
    params, state = layer.init(key)
    x = mx.ones((3, strategies.FEATURES))
    y, _ = layer.apply(params, state, x, train=True, key=key)
    assert y.shape == x.shape


def test_layers_are_nested_with_params_and_state():
    def init(layer):
        return layer.init(mx.random.key(0))

    find(strategies.layers(), lambda layer: len(tree.paths(init(layer)[0])) > 2)
    find(strategies.layers(), lambda layer: "." in "".join(tree.paths(init(layer)[1])))


@given(strategies.params())
def test_equal_tells_trees_apart(params):
    path = tree.paths(params)[0]
    other = tree.at(params, path).apply(lambda x: x + 1)
    assert strategies.equal(params, params)
    assert not strategies.equal(params, other)
    assert not strategies.equal(params, {**params, "extra": mx.array(0.0)})
