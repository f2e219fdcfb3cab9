"""Functions of all arrays of a tree."""

import mlx.core as mx

from lucid_fn.tree.structure import leaves, map
from lucid_fn.types import Array, Tree


def zeros_like(tree: Tree, /) -> Tree:
    """Zeros of the shapes and dtypes of a tree of arrays.

    Example:
        >>> zeros_like({"w": mx.array([1.0, 2.0])})
        {'w': array([0, 0], dtype=float32)}
    """
    return map(mx.zeros_like, tree)


def ones_like(tree: Tree, /) -> Tree:
    """Ones of the shapes and dtypes of a tree of arrays."""
    return map(mx.ones_like, tree)


def cast(tree: Tree, dtype: mx.Dtype, /) -> Tree:
    """The tree with its float leaves in `dtype`; other leaves are kept.

    Example:
        >>> cast({"w": mx.array(1.5), "step": mx.array(3)}, mx.float16)
        {'w': array(1.5, dtype=float16), 'step': array(3, dtype=int32)}
    """
    return map(
        lambda x: x.astype(dtype) if mx.issubdtype(x.dtype, mx.floating) else x, tree
    )


def size(tree: Tree, /) -> int:
    """How many numbers the arrays of a tree hold: the parameter count of params.

    Example:
        >>> size({"weight": mx.zeros((10, 84)), "bias": mx.zeros((10,))})
        850
    """
    return sum(leaf.size for leaf in leaves(tree))


def nbytes(tree: Tree, /) -> int:
    """How many bytes the arrays of a tree take.

    Example:
        >>> nbytes({"weight": mx.zeros((10, 84))})
        3360
    """
    return sum(leaf.nbytes for leaf in leaves(tree))


def global_norm(tree: Tree, /) -> Array:
    """The Euclidean norm of all leaves taken as one vector: float, shape `()`.

    Squares are added in float32 at least, array by array. The gradient at 0 is not
    a number, as that of any norm.

    Example:
        >>> global_norm({"a": mx.array([3.0]), "b": mx.array([[4.0]])})
        array(5, dtype=float32)
    """
    squares = [mx.sum(mx.square(leaf.astype(mx.float32))) for leaf in leaves(tree)]
    return mx.sqrt(sum(squares, mx.array(0.0)))


def all_finite(tree: Tree, /) -> Array:
    """Whether no leaf holds an infinity or a NaN: bool, shape `()`.

    Example:
        >>> all_finite({"a": mx.array([1.0, float("inf")])})
        array(False, dtype=bool)
    """
    finite = [mx.all(mx.isfinite(leaf)) for leaf in leaves(tree)]
    return mx.all(mx.stack(finite)) if finite else mx.array(True)
