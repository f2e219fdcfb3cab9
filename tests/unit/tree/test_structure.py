"""Flattening, building and mapping: hand values, empty things, messages."""

import collections
import functools
import gc
import sys

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import grad, jit, tree, vmap
from tests.strategies import Pair

EMPTY = [{}, [], (), None, {"a": {}}, [None, ()], Pair(None, {})]


@pytest.mark.parametrize("values", EMPTY)
def test_empty_trees_have_no_leaves_and_survive(values):
    leaves, structure = tree.flatten(values)
    assert leaves == [] and tree.paths(values) == []
    assert tree.unflatten(structure, []) == values
    assert tree.map(str, values) == values


def test_empty_trees_of_different_kinds_are_different_structures():
    structures = {tree.flatten(values)[1] for values in EMPTY}
    assert len(structures) == len(EMPTY)


@pytest.mark.parametrize("leaf", [1, 2.5, "a", mx.array(1), np.ones(2), {1, 2}, print])
def test_everything_else_is_a_leaf(leaf):
    assert tree.leaves(leaf)[0] is leaf and tree.paths(leaf) == [""]


def test_leaves_come_in_the_order_of_the_sorted_keys():
    assert tree.leaves({"b": 1, "a": [2, (3, {"z": 4, "y": 5})]}) == [2, 3, 5, 4, 1]


def test_keys_may_be_integers_bools_and_tuples():
    assert tree.paths({10: 0, 9: 0}) == ["9", "10"]
    assert tree.paths({True: 0, False: 0}) == ["False", "True"]
    assert tree.paths({(1, 2): 0}) == ["(1, 2)"]


@pytest.mark.parametrize(
    "values", [{1: 0, "a": 0}, {None: 0, "a": 0}, [{1j: 0, 2j: 0}]]
)
@pytest.mark.parametrize("fn", [tree.flatten, tree.paths, lambda t: tree.map(str, t)])
def test_keys_without_an_order_are_a_type_error(fn, values):
    with pytest.raises(
        TypeError, match=r"tree: the keys of a dict must be of one kind"
    ):
        fn(values)


def test_an_ordered_dict_keeps_its_type_and_order():
    values = {"x": collections.OrderedDict(b=1, a=2)}
    leaves, structure = tree.flatten(values)
    assert leaves == [1, 2] and structure != tree.flatten({"x": {"b": 1, "a": 2}})[1]
    for again in (tree.unflatten(structure, leaves), tree.map(lambda x: x, values)):
        assert type(again["x"]) is collections.OrderedDict
        assert list(again["x"].items()) == [("b", 1), ("a", 2)]
    back = tree.at(values, "x.a").set(3)["x"]
    assert back == collections.OrderedDict(b=1, a=3)


class Named(dict):
    """A dict with a type of its own."""


@pytest.mark.parametrize(
    "values",
    [collections.defaultdict(int, b=1), collections.Counter("ab"), Named(a=1)],
    ids=lambda values: type(values).__name__,
)
@pytest.mark.parametrize(
    "call", [tree.flatten, tree.leaves, tree.paths, lambda t: tree.map(abs, t)]
)
def test_a_dict_of_another_type_is_refused_by_name(call, values):
    message = rf"tree: dicts must be .*{type(values).__name__}, .* with dict\(...\)"
    with pytest.raises(TypeError, match=message):
        call({"a": [values]})


def test_a_tree_may_be_deep():
    deep = functools.reduce(lambda inner, _: {"a": [inner]}, range(100), 7)
    assert tree.leaves(deep) == [7]
    assert tree.map(lambda x: x + 1, deep) != deep
    assert tree.at(deep, ".".join(["a.0"] * 100)).get() == 7


DEEP = {
    "flatten": tree.flatten,
    "leaves": tree.leaves,
    "map": lambda t: tree.map(lambda x: x, t),
    "global_norm": tree.global_norm,
    "jit": lambda t: jit(lambda t: t)(t),
    "a result of jit": lambda t: jit(lambda x: t)(1.0),
    "grad": grad(lambda t: mx.sum(tree.leaves(t)[0])),
    "vmap": vmap(lambda t: t),
}


@pytest.mark.parametrize("what", DEEP)
@pytest.mark.parametrize("levels", [500, 3000])
def test_a_tree_that_is_too_deep_is_an_error_of_ours(what, levels):
    deep = functools.reduce(lambda inner, _: {"a": inner}, range(levels), mx.ones(1))
    try:
        DEEP[what](deep)
    except ValueError as error:
        assert str(error).startswith("tree: trees must be nested")
    else:
        assert levels == 500
    assert tree.paths(deep) == [".".join(["a"] * levels)]


def itself():
    tree = {"a": mx.ones(1)}
    tree["b"] = tree
    return tree


HOLDING_ITSELF = {
    **DEEP,
    "paths": tree.paths,
    "named_leaves": tree.named_leaves,
    "partition": lambda t: tree.partition(lambda path: True, t),
    "merge": lambda t: (t.clear(), t.update(b=t), tree.merge(t, t)),
    "an auxiliary of grad": lambda t: grad(lambda x: (x, t), has_aux=True)(1.0),
}


@pytest.mark.parametrize("what", HOLDING_ITSELF)
def test_a_tree_that_holds_itself_is_an_error_of_ours(what):
    with pytest.raises(ValueError, match=r"^tree: trees must be nested"):
        HOLDING_ITSELF[what](itself())


@pytest.mark.parametrize("levels", [500, 100_000])
def test_auxiliaries_of_grad_may_not_be_too_deep(levels):
    deep = functools.reduce(lambda inner, _: [inner], range(levels), mx.ones(1))
    try:
        grad(lambda x: (x, deep), has_aux=True)(1.0)
    except ValueError as error:
        assert str(error).startswith("tree: trees must be nested")
    else:
        assert levels == 500


def test_is_leaf_stops_at_the_nodes_that_it_names():
    def is_pair(node):
        return isinstance(node, tuple)

    values = {"a": (1, 2), "b": [(3, (4, 5)), None]}
    assert tree.leaves(values, is_leaf=is_pair) == [(1, 2), (3, (4, 5))]
    leaves, structure = tree.flatten(values, is_leaf=is_pair)
    assert tree.unflatten(structure, leaves) == values
    lengths = tree.map(lambda x, y: len(x) + len(y), values, values, is_leaf=is_pair)
    assert lengths == {"a": 4, "b": [4, None]}
    assert tree.leaves([None], is_leaf=lambda node: node is None) == [None]
    with pytest.raises(ValueError, match=r"structures differ at a: tuple"):
        tree.map(max, values, {"a": [1, 2], "b": values["b"]}, is_leaf=is_pair)


def test_map_passes_the_leaves_of_all_trees_in_order():
    a, b, c = {"w": 1, "b": [2]}, {"b": [20], "w": 10}, {"w": 100, "b": [200]}
    assert tree.map(lambda *xs: xs, a, b, c) == {"w": (1, 10, 100), "b": [(2, 20, 200)]}


def test_map_does_not_change_its_arguments():
    values = {"b": [1, 2], "a": {"c": 3}}
    tree.map(lambda x: x + 1, values)
    assert values == {"b": [1, 2], "a": {"c": 3}}


def test_map_with_path_gives_each_leaf_its_path():
    values = {"a": [1, Pair(2, None)], "b": 3}
    paths = tree.map_with_path(lambda path, x: path, values)
    assert paths == {"a": ["a.0", Pair("a.1.first", None)], "b": "b"}


def test_a_leaf_at_the_top_has_the_empty_path():
    assert tree.map_with_path(lambda path, x: (path, x), 5) == ("", 5)


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ({"a": {"b": 1}}, {"a": {"c": 1}}, r"differ at a: dict\(b\) and dict\(c\)"),
        ({"a": [1, 2]}, {"a": [1]}, r"differ at a: list\(0, 1\) and list\(0\)"),
        ({"a": {"b": 1}}, {"a": 1}, r"differ at a: dict\(b\) and a leaf \(int\)"),
        ((1, 2), [1, 2], r"differ: tuple\(0, 1\) and list\(0, 1\)"),
        (Pair(1, 2), (1, 2), r"differ: Pair\(first, second\) and tuple\(0, 1\)"),
        ({"a": 1}, {"a": None}, r"differ at a: a leaf \(int\) and None"),
        (
            [mx.ones(2)],
            [()],
            r"differ at 0: a leaf \(array of shape \(2,\)\) and tuple",
        ),
    ],
)
def test_a_mismatch_says_where_and_what(a, b, words):
    with pytest.raises(ValueError, match=r"tree\.map: structures " + words):
        tree.map(lambda x, y: x, a, b)
    with pytest.raises(ValueError, match=r"step: structures " + words):
        tree.map_with_path(lambda path, x, y: x, a, b, caller="step")


def test_no_function_is_called_before_the_structures_are_compared():
    seen = []
    with pytest.raises(ValueError, match="structures differ at b"):
        tree.map(lambda x, y: seen.append(x), {"a": 1, "b": 2}, {"a": 1, "b": [2]})
    assert seen == []


def test_an_error_of_the_mapped_function_passes_through():
    with pytest.raises(ZeroDivisionError):
        tree.map(lambda x: 1 / x, {"a": 0})


@pytest.mark.parametrize("count", [0, 1, 3])
def test_unflatten_wants_one_leaf_a_place(count):
    _, structure = tree.flatten({"a": 1, "b": 2})
    message = rf"tree\.unflatten: leaves must have length 2, got {count}"
    with pytest.raises(ValueError, match=message):
        tree.unflatten(structure, list(range(count)))


ON_TREES = {
    "flatten": tree.flatten,
    "unflatten": lambda t: tree.unflatten(*reversed(tree.flatten(t))),
    "map": lambda t: tree.map(lambda a, b: a, t, t),
    "map_with_path": lambda t: tree.map_with_path(lambda path, a: a, t),
    "named_leaves": tree.named_leaves,
    "restore": lambda t: tree.restore(t, tree.named_leaves(t)),
    "partition": lambda t: tree.partition(lambda path: True, t),
    "merge": lambda t: tree.merge({"a": t}, {"a": {"new": 1}}),
    "at_set": lambda t: tree.at(t, "a.b").set(0),
    "global_norm": tree.global_norm,
}


@pytest.mark.parametrize("name", ON_TREES)
def test_arrays_are_freed_without_the_garbage_collector(name):
    leaf = mx.zeros(2)
    values = {"a": {"b": leaf}}
    ON_TREES[name](values)
    before = sys.getrefcount(leaf)
    gc.disable()
    try:
        ON_TREES[name](values)
        assert sys.getrefcount(leaf) == before
    finally:
        gc.enable()


def test_a_structure_shows_kinds_and_keys():
    _, structure = tree.flatten({"a": [1, None, ()], "b": Pair(1, 2)})
    shown = (
        "dict(a: list(0: *, 1: NoneType(), 2: tuple()), b: Pair(first: *, second: *))"
    )
    assert repr(structure) == shown


def resnet_sized():
    names = ("weight", "bias", "running_mean")
    block = {name: mx.zeros(1) for name in names}
    return {
        f"layer{i}": {f"block{j}": dict(block) for j in range(5)} for i in range(20)
    }


@pytest.mark.parametrize("fn", [tree.flatten, tree.leaves])
def test_flattening_calls_two_functions_a_node_at_most(fn):
    """A step of a compiled function flattens its arguments: calls are what it costs."""
    values, events = resnet_sized(), collections.Counter()
    nodes = 1 + 20 + 20 * 5 + 300
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, arg: events.update([event]))
    try:
        fn(values)
    finally:
        sys.setprofile(before)
    assert nodes <= events["call"] < 2 * nodes
    assert events["c_call"] < 2 * nodes
