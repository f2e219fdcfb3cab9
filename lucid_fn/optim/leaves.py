"""Elementwise maths on trees, whose large leaves are spread over the cores.

MLX evaluates a CPU stream on one core, and an update of the params is bound by it: Adam
on 11 million params takes 29 ms on one core.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.ops.mlx_transforms import contiguous
from lucid_fn.ops.seam import computing_part, parts_of_leaves
from lucid_fn.types import Array, Tree


def map(  # as in `tree`
    fn: Callable[..., Array], values: Tree, /, *rest: Tree, caller: str = "leaves.map"
) -> Tree:
    """`tree.map`, with large leaves on streams that their sizes decide.

    All maps over trees of the same shapes put a leaf on the same stream, so that those
    of one update still become one kernel a leaf.

    Args:
        fn: elementwise maths; no matrix products, since two streams that both call a
            BLAS of several threads wait for each other.
        values: as in `tree.map`.
        rest: as in `tree.map`.
        caller: as in `tree.map`.
    """
    return tree.map(_shared(fn, values, caller), values, *rest, caller=caller)


def map_with_path(
    fn: Callable[..., Array],
    values: Tree,
    /,
    *rest: Tree,
    caller: str = "leaves.map_with_path",
) -> Tree:
    """`tree.map_with_path`, with large leaves on streams as in `map`."""
    return tree.map_with_path(_shared(fn, values, caller), values, *rest, caller=caller)


def _shared(
    fn: Callable[..., Array], values: Tree, caller: str
) -> Callable[..., Array]:
    """`fn`, which is called once a leaf, in order."""
    sizes = [
        leaf.size if isinstance(leaf, mx.array) else 0 for leaf in tree.leaves(values)
    ]
    paths = iter(tree.paths(values))
    parts = iter(parts_of_leaves(sizes))

    def run(*leaves: Any) -> Array:
        _check_one_shape(caller, next(paths), leaves)
        part = next(parts)
        with computing_part(part) if part else nullcontext():
            return fn(*leaves)

    return run


def end_kernel(x: Array) -> Array:
    """`x`, computed by a kernel that ends here.

    `mx.compile` fuses elementwise operations into the kernel that uses them, up to
    eleven in a chain. There are two places to stop it:

    - after a scalar, which would be computed again for each element of what it
      multiplies: Adam on one array of 4 M elements takes 11 ms with it, 71 ms without;
    - in a long chain, where the operation that is left out may be the broadcast of a
      scalar: the kernel then reads all of its arrays by strides, and Adam with weight
      decay takes a tenth longer.
    """
    return contiguous(x)


def check_shapes(grads: Tree, params: Tree, *, caller: str) -> None:
    """Raises unless the trees have one structure, and their leaves one shape each."""

    def check(path: str, *leaves: Any) -> None:
        _check_one_shape(caller, path, leaves)

    tree.map_with_path(check, grads, params, caller=caller)


def _check_one_shape(caller: str, path: str, leaves: tuple[Any, ...]) -> None:
    """Raises where arrays of one parameter would broadcast: they are of two models."""
    arrays = [leaf for leaf in leaves if isinstance(leaf, mx.array)]
    shapes = {array.shape: None for array in arrays if array.ndim}  # in their order
    if len(shapes) > 1:
        raise ValueError(
            f"{caller}: grads, params and opt_state must be of one model, got arrays "
            f"of shapes {' and '.join(str(s) for s in shapes)} for {path}"
        )
