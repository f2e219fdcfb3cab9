"""Elementwise maths on trees, with large leaves distributed over the cores.

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
    """`tree.map`, with large leaves distributed over streams by size.

    Maps over trees of the same shapes assign the same stream to a leaf, so the maps of
    one update are still fused into one kernel per leaf.

    Args:
        fn: elementwise maths; no matrix products, since streams that call a
            multithreaded BLAS at the same time wait for each other.
        values: as in `tree.map`.
        rest: as in `tree.map`.
        caller: as in `tree.map`.
    """
    return tree.map(_on_streams(fn, values, caller), values, *rest, caller=caller)


def map_with_path(
    fn: Callable[..., Array],
    values: Tree,
    /,
    *rest: Tree,
    caller: str = "leaves.map_with_path",
) -> Tree:
    """`tree.map_with_path`, with large leaves on streams as in `map`."""
    run = _on_streams(fn, values, caller)
    return tree.map_with_path(run, values, *rest, caller=caller)


def select(condition: Array, new: Tree, old: Tree) -> Tree:
    """`mx.where(condition, new, old)` for each leaf."""
    return map(lambda a, b: mx.where(condition, a, b), new, old)


def _on_streams(
    fn: Callable[..., Array], values: Tree, caller: str
) -> Callable[..., Array]:
    """Wraps `fn`, which is called once per leaf in order, to run on the leaf's stream.

    Shapes are checked first.
    """
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
    """The identity, which ends a fused kernel.

    `mx.compile` fuses elementwise operations into the kernel that uses their result, up
    to eleven in a chain. There are two places to stop it:

    - after a scalar, which would be computed again for each element that it multiplies:
      Adam on one array of 4 M elements takes 11 ms with this call, 71 ms without;
    - in a long chain: if the operation beyond the limit is the broadcast of a scalar,
      the kernel reads all of its arrays with strides, and Adam with weight decay takes
      a tenth longer.
    """
    return contiguous(x)


def check_shapes(grads: Tree, params: Tree, *, caller: str) -> None:
    """Raises unless the trees have the same structure and shapes."""

    def check(path: str, *leaves: Any) -> None:
        _check_one_shape(caller, path, leaves)

    tree.map_with_path(check, grads, params, caller=caller)


def _check_one_shape(caller: str, path: str, leaves: tuple[Any, ...]) -> None:
    """Raises if the arrays of one parameter differ in shape; scalars may broadcast."""
    arrays = [leaf for leaf in leaves if isinstance(leaf, mx.array)]
    shapes = {array.shape: None for array in arrays if array.ndim}  # an ordered set
    if len(shapes) > 1:
        raise ValueError(
            f"{caller}: grads, params and opt_state must be of one model, got arrays "
            f"of shapes {' and '.join(str(s) for s in shapes)} for {path}"
        )
