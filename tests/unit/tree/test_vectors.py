"""Trees as vectors and back, and equality of trees."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import grad, jit, tree, vmap
from tests.strategies import Pair

VALUES = {
    "w": mx.array([[1.0, 2.0], [3.0, 4.0]]),
    "b": [mx.array(5, mx.int8), Pair(mx.array([True, False]), None)],
    "empty": mx.zeros((0, 3), mx.float16),
}


def test_unravel_is_the_inverse_of_ravel():
    vector, unravel = tree.ravel(VALUES)
    assert vector.tolist() == [5.0, 1.0, 0.0, 1.0, 2.0, 3.0, 4.0]
    assert tree.equal(unravel(vector), VALUES)
    nothing, back = tree.ravel({"a": None})
    assert nothing.shape == (0,) and back(nothing) == {"a": None}


@pytest.mark.parametrize("outer", [lambda f: f, jit])
def test_gradients_flow_through_both(outer):
    values = {"a": mx.array([1.0, 2.0]), "b": mx.array(3.0)}
    vector, unravel = tree.ravel(values)

    def of_vector(v):
        parts = unravel(v)
        return mx.sum(parts["a"] ** 2) * parts["b"]

    assert outer(grad(of_vector))(vector).tolist() == [6.0, 12.0, 5.0]
    slopes = outer(grad(lambda t: mx.sum(tree.ravel(t)[0] ** 2)))(values)
    assert tree.equal(slopes, {"a": mx.array([2.0, 4.0]), "b": mx.array(6.0)})


def test_a_batch_of_vectors_becomes_a_batch_of_trees():
    vector, unravel = tree.ravel({"a": mx.array([1.0, 2.0]), "b": mx.array(3.0)})
    many = vmap(unravel)(mx.stack([vector, 2 * vector]))
    assert many["b"].tolist() == [3.0, 6.0]


def test_unravel_wants_a_vector_of_the_length():
    _, unravel = tree.ravel({"a": mx.zeros(3)})
    with pytest.raises(
        ValueError, match=r"unravel: vector must have shape \(3,\), got"
    ):
        unravel(mx.zeros(4))
    with pytest.raises(TypeError, match="unravel: vector must be an array, got list"):
        unravel([1.0, 2.0, 3.0])
    with pytest.raises(TypeError, match=r"tree.ravel: a must be an array, got float"):
        tree.ravel({"a": 1.0})


X = mx.array([1.0, float("nan")])
UNEQUAL = {
    "a value": (mx.array([1.0, 2.0]), mx.array([1.0, 3.0])),
    "a dtype": (mx.zeros(2), mx.zeros(2, mx.float16)),
    "a shape": (mx.zeros((2, 1)), mx.zeros((1, 2))),
    "a structure": ([mx.zeros(2)], (mx.zeros(2),)),
    "a leaf more": ({"a": mx.zeros(2)}, {"a": mx.zeros(2), "b": mx.zeros(2)}),
    "an array and a number": (mx.array(1.0), 1.0),
    "numbers of two types": (1, 1.0),
    "strings": ("a", "b"),
    "NaN": (X, X),
    "NumPy arrays": (np.array([1, 2]), np.array([1, 3])),
}


@pytest.mark.parametrize("what", UNEQUAL)
def test_trees_that_differ_are_not_equal(what):
    a, b = UNEQUAL[what]
    found = tree.equal({"t": a}, {"t": b})
    assert found.dtype == mx.bool_ and not found.item()


def test_equal_trees_are_equal_also_when_compiled():
    assert tree.equal(VALUES, tree.map(lambda x: x, VALUES))
    assert jit(tree.equal)(VALUES, VALUES)
    assert tree.equal({}, {}) and tree.equal("a", "a")
    assert tree.equal(np.array([1, 2]), np.array([1, 2]))
    assert tree.equal({"a": X}, {"a": X}, equal_nan=True)
    assert tree.equal([mx.array(1)], [mx.array(1)], equal_nan=True)


def test_a_place_is_read_replaced_and_changed():
    values = {"a": [1, Pair(2, 3)]}
    place = tree.at(values, "a.1.second")
    assert place.get() == 3
    assert place.set(9) == {"a": [1, Pair(2, 9)]}
    assert place.apply(lambda x: x + 1) == {"a": [1, Pair(2, 4)]}
    assert values == {"a": [1, Pair(2, 3)]}


@pytest.mark.parametrize(
    ("dtypes", "rounded"),
    [
        ((mx.int32, mx.float32), "int32 at 0"),
        ((mx.float16, mx.int16), "int16 at 1"),
        ((mx.uint64, mx.int64), "int64"),
        ((mx.complex64, mx.float64), "float64 at 1"),
    ],
)
def test_leaves_that_the_common_dtype_would_round_are_refused(dtypes, rounded):
    leaves = [mx.ones(2).astype(dtype) for dtype in dtypes]
    with pytest.raises(
        TypeError, match=f"ravel: the leaves must .*{rounded}.*partition"
    ):
        tree.ravel(leaves)


def test_leaves_that_it_holds_are_raveled():
    kinds = mx.bool_, mx.int8, mx.uint16, mx.float16, mx.bfloat16, mx.float32
    leaves = [mx.array([0, 1]).astype(dtype) for dtype in kinds]
    vector, unravel = tree.ravel(leaves)
    assert vector.dtype == mx.float32
    assert tree.equal(unravel(vector), leaves)
