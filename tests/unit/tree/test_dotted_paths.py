"""Paths: flat dicts, checkpoints' templates, places, parts."""

import re

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import tree
from tests.strategies import Pair


def test_named_leaves_are_a_flat_dict():
    values = {"layer": [{"weight": 1}, None], "fc": Pair(2, ())}
    assert tree.named_leaves(values) == {"fc.first": 2, "layer.0.weight": 1}


@pytest.mark.parametrize("values", [{"a.b": 1, "a": {"b": 2}}, {"a": [1], "a.0": 2}])
def test_two_leaves_of_one_path_are_a_value_error(values):
    with pytest.raises(
        ValueError, match=r"tree\.named_leaves: two leaves have the path"
    ):
        tree.named_leaves(values)


def test_restore_lists_all_that_does_not_fit():
    template = {
        "a": mx.zeros(2),
        "b": mx.zeros(2),
        "c": mx.zeros(2),
        "n": mx.array(0),
        "s": 1,
    }
    flat = {
        "a": mx.zeros((2, 1)),
        "b": mx.zeros(2, mx.float16),
        "n": np.zeros((), np.int32),
        "s": 2.5,
        "extra": mx.zeros(2),
    }
    with pytest.raises(ValueError, match="do not fit the template") as error:
        tree.restore(template, flat)
    assert str(error.value).splitlines()[1:] == [
        "  a: must be float32 (2,), got float32 (2, 1)",
        "  b: must be float32 (2,), got float16 (2,)",
        "  missing: c",
        "  n: must be int32 (), got ndarray",
        "  s: must be int, got float",
        "  unexpected: extra",
    ]


def test_restore_shows_the_first_20_problems():
    template = {f"w{i:02}": mx.zeros(1) for i in range(30)}
    with pytest.raises(ValueError, match=r"(?s)load: .*\.\.\. and 10 more") as error:
        tree.restore(template, {}, caller="load")
    assert len(str(error.value).splitlines()) == 22


def test_restore_wants_a_dict():
    with pytest.raises(
        TypeError, match=r"tree\.restore: flat must be a dict of arrays"
    ):
        tree.restore({"a": mx.zeros(1)}, [mx.zeros(1)])


def test_restore_keeps_lists_named_tuples_and_empty_things():
    template = Pair([mx.zeros(1), None], {"a": {}, "b": mx.zeros(2)})
    flat = {"first.0": mx.ones(1), "second.b": mx.ones(2)}
    restored = tree.restore(template, flat)
    assert restored.second["a"] == {} and restored.first[1] is None
    assert restored.first[0] is flat["first.0"]
    assert restored.second["b"] is flat["second.b"]


def test_partition_splits_by_the_dotted_path():
    params = {"body": {"weight": 1, "bias": 2}, "head": {"weight": 3}}
    weights, others = tree.partition(lambda path: path.endswith("weight"), params)
    assert weights == {"body": {"weight": 1}, "head": {"weight": 3}}
    assert others == {"body": {"bias": 2}}


@pytest.mark.parametrize(
    ("first", "got"), [("head", "str 'head'"), ({"head": 1}, r"dict \{'head': 1\}")]
)
def test_partition_says_that_the_function_comes_first(first, got):
    with pytest.raises(
        TypeError,
        match=f"^tree.partition: predicate must be a function .*got {got}; write tree",
    ):
        tree.partition(first, lambda path: True)


def test_partition_of_nothing_is_two_empty_dicts():
    assert tree.partition(lambda path: True, {}) == ({}, {})


def test_partition_leaves_none_in_the_place_of_an_absent_item():
    values = {"a": [1, {"w": 2}, (3, 4)], "b": Pair(5, None), "c": [6]}
    even, odd = tree.partition(lambda path, leaf: leaf % 2 == 0, values)
    assert even == {"a": [None, {"w": 2}, (None, 4)], "c": [6]}
    assert odd == {"a": [1, None, (3, None)], "b": Pair(5, None)}
    assert tree.merge(even, odd) == tree.merge(odd, even) == values


def test_what_has_no_leaves_stays_with_the_others():
    values = {"a": None, "b": {}, "c": [(), 1]}
    assert tree.partition(lambda path: True, values) == (
        {"c": [None, 1]},
        {"a": None, "b": {}, "c": [(), None]},
    )


def test_halves_of_a_list_can_be_differentiated_and_merged_inside():
    params = [mx.array(2.0), mx.array(3.0)]
    moving, fixed = tree.partition(lambda path: path == "1", params)

    def loss(moving):
        a, b = tree.merge(moving, fixed)
        return a * b

    assert lf.grad(loss)(moving)[1].item() == 2.0


@pytest.mark.parametrize("values", [1, mx.zeros(2)])
def test_partition_and_merge_want_trees_with_leaves(values):
    with pytest.raises(TypeError, match=r"tree\.partition: tree must have leaves, got"):
        tree.partition(lambda path: True, values)
    for pair in ((values, {"a": 1}), ({"a": 1}, values)):
        with pytest.raises(TypeError, match=r"tree\.merge: trees must have leaves"):
            tree.merge(*pair)


@pytest.mark.parametrize(("a", "b"), [([1], [None, 2]), ([1], (None,)), ({}, [1])])
def test_merge_refuses_other_kinds_of_nodes(a, b):
    with pytest.raises(ValueError, match=r"tree\.merge: structures differ at x: "):
        tree.merge({"x": a}, {"x": b})


@pytest.mark.parametrize(
    ("a", "b", "path"),
    [
        ({"a": 1}, {"a": 2}, "a"),
        ({"a": {"b": 1}}, {"a": {"b": 1}}, r"a\.b"),
        ({"a": {"b": 1}}, {"a": 2}, "a"),
        ({"a": 1}, {"a": {"b": 1}}, "a"),
    ],
)
def test_merge_refuses_what_both_hold(a, b, path):
    with pytest.raises(ValueError, match=rf"tree\.merge: both trees hold '{path}'"):
        tree.merge(a, b)


def test_merge_does_not_change_its_arguments():
    a, b = {"fc": {"weight": 1}}, {"fc": {"bias": 2}}
    tree.merge(a, b)
    assert a == {"fc": {"weight": 1}} and b == {"fc": {"bias": 2}}


def test_at_finds_leaves_and_subtrees_in_every_kind_of_node():
    values = {"a": [{"w": 1}, (2, Pair(3, 4))], 7: 5}
    with pytest.raises(TypeError, match="must be of one kind"):
        tree.at(values, "7").get()
    del values[7]
    assert tree.at(values, "a.0").get() == {"w": 1}
    assert tree.at(values, "a.1.1.second").get() == 4
    assert tree.at({7: 5}, "7").get() == 5


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("b", "stops at 'b'; found keys a\"$"),
        ("a.x", "stops at 'x'; found keys empty, leaf, list, none"),
        ("a.list.2", "stops at '2'; found keys 0, 1"),
        ("a.leaf.x", r"stops at 'x'; found a leaf \(int\)"),
        ("a.none.x", r"stops at 'x'; found None\(\)"),
        ("a.empty.x", r"stops at 'x'; found dict\(\)"),
        ("", "stops at ''; found keys a\"$"),
    ],
)
def test_a_path_to_nothing_says_where_it_stops(path, words):
    values = {"a": {"list": [1, 2], "leaf": 1, "none": None, "empty": {}}}
    for fn, name in (
        (lambda t, p: tree.at(t, p).get(), "at"),
        (lambda t, p: tree.at(t, p).set(0), "at"),
    ):
        start = re.escape(f"tree.{name}: path {path!r} ")
        with pytest.raises(KeyError, match=f"{start}{words}"):
            fn(values, path)


def test_at_set_builds_every_kind_of_node_again():
    values = {"a": [1, (2, Pair(3, {"w": 4}))]}
    new = tree.at(values, "a.1.1.second.w").set(9)
    assert new == {"a": [1, (2, Pair(3, {"w": 9}))]}
    assert type(new["a"][1][1]) is Pair
    assert values["a"][1][1].second == {"w": 4}


def test_at_set_keeps_the_order_of_insertion():
    assert list(tree.at({"b": 1, "a": 2}, "b").set(3)) == ["b", "a"]
