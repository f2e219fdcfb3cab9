"""Functions of all arrays of a tree."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import tree

VALUES = {"w": mx.array([[3.0, 0.0]]), "n": [mx.array(4, mx.int32)]}


def test_zeros_like_and_ones_like_keep_shapes_and_dtypes():
    for make, value in ((tree.zeros_like, 0), (tree.ones_like, 1)):
        made = make(VALUES)
        assert made["w"].shape == (1, 2) and made["n"][0].dtype == mx.int32
        assert made["w"].tolist() == [[value, value]]
        assert made["n"][0].item() == value


def test_cast_leaves_integers_as_they_are():
    made = tree.cast(VALUES, mx.bfloat16)
    assert made["w"].dtype == mx.bfloat16 and made["n"][0].dtype == mx.int32


@pytest.mark.parametrize("dtype", ["float16", np.float16, float])
def test_cast_wants_a_dtype(dtype):
    with pytest.raises(
        TypeError, match=r"tree\.cast: dtype must be a dtype such as mx"
    ):
        tree.cast(VALUES, dtype)


def test_size_and_nbytes_count_all_arrays():
    assert tree.size(VALUES) == 3 and tree.nbytes(VALUES) == 12
    assert tree.size({}) == 0 and tree.nbytes(None) == 0


def test_the_global_norm_takes_all_leaves_as_one_vector():
    assert tree.global_norm(VALUES).item() == 5.0
    assert tree.global_norm({}).item() == 0.0


def test_the_global_norm_of_complex_numbers_counts_both_parts():
    assert tree.global_norm(mx.array([3 + 4j])).item() == pytest.approx(5.0)


def test_the_global_norm_of_half_precision_does_not_overflow():
    norm = tree.global_norm({"w": mx.full((4,), 6e4, mx.float16)})
    assert norm.dtype == mx.float32 and norm.item() == pytest.approx(1.2e5, rel=1e-3)


@pytest.mark.parametrize("bad", [float("inf"), -float("inf"), float("nan")])
def test_all_finite_finds_one_bad_value(bad):
    assert tree.all_finite({}).item() and tree.all_finite(VALUES).item()
    assert not tree.all_finite({**VALUES, "bad": mx.array([0.0, bad])}).item()


@pytest.mark.parametrize(
    "name",
    ["zeros_like", "ones_like", "cast", "size", "nbytes", "global_norm", "all_finite"],
)
@pytest.mark.parametrize("leaf", [1.0, "a", np.ones(2)])
def test_a_leaf_that_is_no_array_is_named(name, leaf):
    more = (mx.float16,) if name == "cast" else ()
    kind = type(leaf).__name__
    with pytest.raises(
        TypeError, match=rf"tree\.{name}: a\.0 must be an array, got {kind}"
    ):
        getattr(tree, name)({"a": [leaf]}, *more)
    with pytest.raises(TypeError, match=rf"tree\.{name}: the tree must be an array"):
        getattr(tree, name)(leaf, *more)
