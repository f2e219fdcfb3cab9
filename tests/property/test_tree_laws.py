"""Laws of trees."""

import mlx.core as mx
import pytest
from hypothesis import assume, given, strategies as st

from lucid_fn import tree
from tests.strategies import Pair, arrays, equal, params, reordered, trees


@given(trees())
def test_map_of_the_identity_is_the_identity(values):
    assert tree.map(lambda x: x, values) == values


@given(trees())
def test_map_of_a_composition_is_the_composition_of_maps(values):
    both = tree.map(lambda x: (x + 1) * 2, values)
    assert both == tree.map(lambda x: x * 2, tree.map(lambda x: x + 1, values))


@given(trees())
def test_map_keeps_the_structure_and_the_order_of_insertion(values):
    def order(node):
        if isinstance(node, dict):
            return [(key, order(child)) for key, child in node.items()]
        return [order(c) for c in node] if isinstance(node, list | tuple) else None

    mapped = tree.map(str, values)
    assert tree.flatten(mapped)[1] == tree.flatten(values)[1]
    assert order(mapped) == order(values)


@given(trees())
def test_unflatten_is_the_inverse_of_flatten(values):
    leaves, structure = tree.flatten(values)
    assert tree.unflatten(structure, leaves) == values


@given(trees())
def test_structures_of_equal_trees_are_equal_and_have_one_hash(values):
    a, b = tree.flatten(values)[1], tree.flatten(tree.map(str, values))[1]
    assert a == b and hash(a) == hash(b)


@given(st.data(), trees())
def test_the_order_of_insertion_does_not_matter(data, values):
    other = reordered(data.draw, values)
    assert tree.flatten(other) == tree.flatten(values)
    assert tree.paths(other) == tree.paths(values)
    assert tree.map(lambda a, b: a - b, values, other) == tree.map(lambda a: 0, values)


@given(trees())
def test_paths_leaves_and_at_agree(values):
    paths, leaves = tree.paths(values), tree.leaves(values)
    assert len(paths) == len(leaves)
    assume(paths != [""])  # a tree that is one leaf has no path to ask for
    assert [tree.at(values, path).get() for path in paths] == leaves


@given(trees(), st.data())
def test_at_set_changes_one_leaf_and_not_its_argument(values, data):
    paths = tree.paths(values)
    assume(paths and paths != [""])
    path = data.draw(st.sampled_from(paths))
    before = tree.map(lambda x: x, values)
    new = tree.at(values, path).set("new")
    assert values == before
    changed = [p for p in paths if tree.at(new, p).get() != tree.at(values, p).get()]
    assert changed == [path] and tree.at(new, path).get() == "new"


@given(trees(arrays()))
def test_restore_of_the_named_leaves_is_the_tree(values):
    template = tree.zeros_like(values)
    assert equal(tree.restore(template, tree.named_leaves(values)), values)


@given(params(), st.data())
def test_merge_is_the_inverse_of_partition(values, data):
    chosen = set(data.draw(st.lists(st.sampled_from(tree.paths(values)))))
    a, b = tree.partition(lambda path: path in chosen, values)
    assert set(tree.paths(a)) == chosen
    assert equal(tree.merge(a, b), values) and equal(tree.merge(b, a), values)


@given(trees(), st.data())
def test_merge_is_the_inverse_of_partition_for_all_kinds_of_nodes(values, data):
    assume(tree.leaves(values) and not isinstance(values, int))
    chosen = set(data.draw(st.lists(st.sampled_from(tree.paths(values)))))
    a, b = tree.partition(lambda path: path in chosen, values)
    assert set(tree.paths(a)) == chosen
    assert set(tree.paths(b)) == set(tree.paths(values)) - chosen
    assert equal(tree.merge(a, b), values) and equal(tree.merge(b, a), values)


@given(params())
def test_partition_leaves_no_empty_dict(values):
    for part in tree.partition(lambda path: path.startswith("a"), values):
        assert all(tree.leaves(child) for child in part.values())


@given(trees(), trees())
def test_a_map_over_different_structures_raises(a, b):
    assume(tree.flatten(a)[1] != tree.flatten(b)[1])
    with pytest.raises(ValueError, match=r"tree\.map: structures differ"):
        tree.map(lambda x, y: x, a, b)


@given(trees(), st.data())
def test_a_mismatch_names_the_path_where_it_is(values, data):
    paths = tree.paths(values)
    assume(paths and paths != [""])
    path = data.draw(st.sampled_from(paths))
    other = tree.at(values, path).set([0])
    with pytest.raises(ValueError) as error:
        tree.map(lambda x, y: x, values, other)
    assert f"structures differ at {path}: a leaf (int) and list(0)" in str(error.value)


@given(params())
def test_the_norm_is_that_of_the_concatenated_leaves(values):
    flat = mx.concatenate([leaf.reshape(-1) for leaf in tree.leaves(values)])
    assert mx.allclose(tree.global_norm(values), mx.linalg.norm(flat), rtol=1e-5)
    assert tree.size(values) == flat.size and tree.nbytes(values) == flat.nbytes


@given(trees(arrays()))
def test_like_trees_have_the_structure_shapes_and_dtypes(values):
    for make, value in ((tree.zeros_like, 0), (tree.ones_like, 1)):
        full = tree.map(lambda x, value=value: mx.full(x.shape, value, x.dtype), values)
        assert equal(make(values), full)


def test_named_tuples_keep_their_type():
    values = Pair(1, {"a": Pair(2, 3)})
    assert type(tree.map(str, values).second["a"]) is Pair
    assert type(tree.unflatten(*reversed(tree.flatten(values))).second["a"]) is Pair
