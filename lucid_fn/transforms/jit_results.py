"""The results of compiled functions: what they may hold, and how to wait for them."""

from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn import tree
from lucid_fn.tracing import any_traced, is_transforming
from lucid_fn.types import Array

# What a result may hold besides arrays; other objects could hide tracers.
_CONSTANTS = (bool, int, float, complex, str, bytes, np.generic, np.ndarray, mx.Dtype)

# A result as small as this may be kept until it is computed.
_SMALL = 4096  # bytes


def check(out: Any, name: str) -> None:
    for path, leaf in zip(tree.paths(out), tree.leaves(out), strict=True):
        if not isinstance(leaf, (mx.array, *_CONSTANTS)):
            where = f" at {path}" if path else ""
            raise TypeError(
                f"jit: `{name}` must return a tree of arrays, numbers and strings, got "
                f"{type(leaf).__name__}{where}; return a dict or a NamedTuple"
            )


def nbytes(out: Any) -> int:
    return sum(leaf.nbytes for leaf in tree.leaves(out) if isinstance(leaf, mx.array))


def token(out: Any, arguments: list[Array]) -> Array | None:
    """An array of a traced result that is computed together with the others.

    To wait for it is to wait for all. It is a small array that is computed, so neither
    an argument passed through nor a constant. Or else one number of the smallest array,
    which keeps no large one alive, taken by indexing, which MLX fuses with nothing.
    """
    arrays = [leaf for leaf in tree.leaves(out) if isinstance(leaf, mx.array)]
    if not arrays or is_transforming():
        return None
    given = set(map(id, arguments))
    for array in arrays:
        small = 0 < array.nbytes <= _SMALL
        if small and id(array) not in given and any_traced([array]):
            return array
    smallest = min(arrays, key=lambda array: array.size)
    if smallest.size == 0:
        return mx.concatenate([smallest.flatten(), mx.zeros(1, smallest.dtype)])
    return mx.take(smallest[(slice(0, 1),) * smallest.ndim], mx.array([0]))


def is_plain(structure: tree.Structure) -> bool:
    """Whether `mx.compile` returns a tree of this structure with its types."""
    kinds = object, type(None), dict, list, tuple
    todo = [structure]  # no recursion, which Python 3.12 limits to fewer levels in C
    while todo:
        node = todo.pop()
        kind: Any = node.kind
        if kind not in kinds and not hasattr(kind, "_fields"):
            return False
        todo += node.children
    return True
