"""Functions of all arrays of a tree."""

import mlx.core as mx

from lucid_fn.numerics import total
from lucid_fn.tracing import started
from lucid_fn.tree.mapping import map
from lucid_fn.tree.structure import flatten, paths
from lucid_fn.types import Array, Tree


def arrays_of(tree: Tree, caller: str) -> list[Array]:
    """The leaves; raises unless they are arrays."""
    leaves, _ = flatten(tree)
    for i, leaf in enumerate(leaves):
        if not isinstance(leaf, mx.array):
            raise TypeError(
                f"tree.{caller}: {paths(tree)[i] or 'the tree'} must be an array, got "
                f"{type(leaf).__name__} {leaf!r}; make it one with mx.array"
            )
    return leaves


def zeros_like(tree: Tree, /) -> Tree:
    """Zeros of the shapes and dtypes of a tree of arrays.

    Args:
        tree: a tree of arrays.

    Raises:
        TypeError: if a leaf is not an array.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import tree
        >>> tree.zeros_like({"w": mx.array([1.0, 2.0])})
        {'w': array([0, 0], dtype=float32)}
    """
    arrays_of(tree, "zeros_like")
    return started(map(mx.zeros_like, tree))


def ones_like(tree: Tree, /) -> Tree:
    """Ones of the shapes and dtypes of a tree of arrays.

    Args:
        tree: a tree of arrays.

    Raises:
        TypeError: if a leaf is not an array.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import tree
        >>> tree.ones_like({"w": mx.array([3.0, 2.0])})
        {'w': array([1, 1], dtype=float32)}
    """
    arrays_of(tree, "ones_like")
    return started(map(mx.ones_like, tree))


def cast(tree: Tree, dtype: mx.Dtype, /) -> Tree:
    """The tree with its float leaves in `dtype`; other leaves are kept.

    Args:
        tree: a tree of arrays.
        dtype: a float dtype, such as `mx.float16`.

    Raises:
        TypeError: if a leaf is not an array, or `dtype` not a dtype.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import tree
        >>> tree.cast({"w": mx.array(1.5), "step": mx.array(3)}, mx.float16)
        {'w': array(1.5, dtype=float16), 'step': array(3, dtype=int32)}
    """
    arrays_of(tree, "cast")
    if not isinstance(dtype, mx.Dtype):
        raise TypeError(
            f"tree.cast: dtype must be a dtype such as mx.float16, got {dtype!r}"
        )
    return started(
        map(
            lambda x: x.astype(dtype) if mx.issubdtype(x.dtype, mx.floating) else x,
            tree,
        )
    )


def size(tree: Tree, /) -> int:
    """The number of elements of all arrays: of params, the parameter count.

    Args:
        tree: a tree of arrays.

    Raises:
        TypeError: if a leaf is not an array.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import tree
        >>> tree.size({"weight": mx.zeros((10, 84)), "bias": mx.zeros((10,))})
        850
    """
    return sum(leaf.size for leaf in arrays_of(tree, "size"))


def nbytes(tree: Tree, /) -> int:
    """The number of bytes of all arrays.

    Args:
        tree: a tree of arrays.

    Raises:
        TypeError: if a leaf is not an array.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import tree
        >>> tree.nbytes({"weight": mx.zeros((10, 84))})
        3360
    """
    return sum(leaf.nbytes for leaf in arrays_of(tree, "nbytes"))


def global_norm(tree: Tree, /) -> Array:
    """The Euclidean norm of all leaves taken as one vector: float, shape `()`.

    Squares are summed in float32 at least, in blocks. The gradient at 0 is NaN, as that
    of `mx.linalg.norm`.

    Args:
        tree: a tree of float or complex arrays.

    Raises:
        TypeError: if a leaf is not an array.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import tree
        >>> tree.global_norm({"a": mx.array([3.0]), "b": mx.array([[4.0]])})
        array(5, dtype=float32)
    """
    squares = [
        total(mx.square(_magnitudes(leaf))) for leaf in arrays_of(tree, "global_norm")
    ]
    return mx.sqrt(sum(squares, mx.array(0.0)))


def _magnitudes(x: Array) -> Array:
    """`x`, or `|x|` if it is complex, in float32 at least."""
    if x.dtype == mx.complex64:
        return mx.abs(x)
    return x if x.dtype == mx.float64 else x.astype(mx.float32)


def all_finite(tree: Tree, /) -> Array:
    """Whether no leaf holds an infinity or a NaN: bool, shape `()`.

    Args:
        tree: a tree of arrays.

    Raises:
        TypeError: if a leaf is not an array.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import tree
        >>> tree.all_finite({"a": mx.array([1.0, float("inf")])})
        array(False, dtype=bool)
    """
    leaves = [leaf for leaf in arrays_of(tree, "all_finite") if leaf.size]
    finite = [mx.all(mx.isfinite(leaf)) for leaf in leaves]
    return mx.all(mx.stack(finite)) if finite else mx.array(True)
