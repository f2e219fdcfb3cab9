"""`ravel` and `equal`."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from lucid_fn.checks import check_bool, check_type, shape_error
from lucid_fn.numerics import promoted
from lucid_fn.tree.arrays import arrays_of
from lucid_fn.tree.structure import flatten, paths, unflatten
from lucid_fn.types import Array, Tree


def ravel(tree: Tree, /) -> tuple[Array, Callable[[Array], Tree]]:
    """Concatenates the arrays of a tree into a vector; also returns the inverse.

    Args:
        tree: a tree of arrays.

    Returns:
        The vector, in the dtype that the leaves promote to; and `unravel(vector)`,
        which turns a vector of that length into a tree of the structure, shapes and
        dtypes of `tree`. Gradients flow through both.

    Raises:
        TypeError: if a leaf is not an array, or the common dtype does not hold all its
            values exactly, as float32 for int32; by `unravel`, if it is not given an
            array.
        ValueError: by `unravel`, if the vector has another shape.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import tree
        >>> params = {"b": mx.array([1.0, 2.0]), "a": mx.array(3.0)}
        >>> vector, unravel = tree.ravel(params)
        >>> vector
        array([3, 1, 2], dtype=float32)
        >>> unravel(2 * vector)
        {'a': array(6, dtype=float32), 'b': array([2, 4], dtype=float32)}
    """
    leaves = arrays_of(tree, "ravel")
    structure = flatten(tree)[1]
    kinds = [(leaf.shape, leaf.dtype) for leaf in leaves]
    ends = list(itertools.accumulate(math.prod(shape) for shape, _ in kinds))
    size = ends[-1] if ends else 0

    def unravel(vector: Array) -> Tree:
        check_type("unravel", "vector", vector, mx.array, "an array")
        if vector.shape != (size,):
            raise shape_error("unravel", "vector", vector, f"({size},)")
        parts = [vector[a:b] for a, b in itertools.pairwise([0, *ends])]
        filled = [
            part.reshape(shape).astype(dtype)
            for part, (shape, dtype) in zip(parts, kinds, strict=True)
        ]
        return unflatten(structure, filled)

    if not leaves:
        return mx.zeros(0), unravel
    dtype = promoted(*leaves)
    for leaf, path in zip(leaves, paths(tree), strict=True):
        if _digits(leaf.dtype) > _digits(dtype):
            raise TypeError(
                f"ravel: the leaves must promote to a dtype that holds all exactly, "
                f"got {leaf.dtype} at {path}, which {dtype} would round; ravel the "
                "leaves of each dtype by themselves: see tree.partition"
            )
    return mx.concatenate([leaf.reshape(-1).astype(dtype) for leaf in leaves]), unravel


def _digits(dtype: mx.Dtype) -> int:
    """The number of binary digits up to which a dtype holds all integers exactly."""
    if dtype == mx.bool_:
        return 1
    if mx.issubdtype(dtype, mx.integer):
        return mx.iinfo(dtype).max.bit_length()
    return _FLOAT_DIGITS[dtype]


_FLOAT_DIGITS = {
    mx.bfloat16: 8,
    mx.float16: 11,
    mx.float32: 24,
    mx.complex64: 24,
    mx.float64: 53,
}


def equal(a: Tree, b: Tree, /, *, equal_nan: bool = False) -> Array:
    """Whether two trees are equal in structure, shapes, dtypes and values.

    Args:
        a: any tree.
        b: any tree.
        equal_nan: whether NaN equals NaN.

    Returns:
        Bool array of shape `()`, also inside of compiled functions.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import tree
        >>> tree.equal({"w": mx.zeros(2)}, {"w": mx.array([0.0, 0.0])})
        array(True, dtype=bool)
        >>> tree.equal({"w": mx.zeros(2)}, {"w": mx.zeros(2, mx.float16)})
        array(False, dtype=bool)
    """
    check_bool("tree.equal", equal_nan=equal_nan)
    (ours, structure), (theirs, other) = flatten(a), flatten(b)
    if structure != other:
        return mx.array(False)
    alike = [_equal(x, y, equal_nan) for x, y in zip(ours, theirs, strict=True)]
    return mx.all(mx.stack([mx.array(True), *alike]))


def _equal(x: Any, y: Any, equal_nan: bool) -> Array:
    if isinstance(x, mx.array) and isinstance(y, mx.array):
        if x.shape != y.shape or x.dtype != y.dtype:
            return mx.array(False)
        has_nan = equal_nan and mx.issubdtype(x.dtype, mx.inexact)
        return mx.array_equal(x, y, equal_nan=has_nan)
    if type(x) is not type(y):
        return mx.array(False)
    same = x == y
    return mx.array(bool(same.all() if hasattr(same, "all") else same))
