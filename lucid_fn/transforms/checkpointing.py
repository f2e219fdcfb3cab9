"""Memory for time in the backward pass."""

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.transforms import captures
from lucid_fn.transforms.arguments import check_function, to_arrays
from lucid_fn.types import Array


def checkpoint(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn`, whose backward pass computes the intermediate results again.

    Saves the memory that they would take, for the time of one more forward pass.

    Args:
        fn: a function of trees of arrays to a tree of arrays. Arguments that are not
            arrays are constants.

    Raises:
        TypeError: if `fn` is not a function; when called, if a result is no array.
        ValueError: when called inside `grad`, if `fn` reads params without being given
            them as an argument: no gradient would reach them.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> lf.grad(lf.checkpoint(lambda x: mx.sin(mx.sin(x))))(0.0)
        array(1, dtype=float32)
    """

    check_function("checkpoint", fn)

    @functools.wraps(fn)
    def saving(*args: Any, **kwargs: Any) -> Any:
        captures.find(fn, "checkpoint")
        leaves, structure = tree.flatten((args, kwargs))
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, mx.array)]
        out_structures: list[tree.Structure] = []

        def flat(*arrays: Array) -> list[Array]:
            filled = list(leaves)
            for place, array in zip(places, arrays, strict=True):
                filled[place] = array
            args, kwargs = tree.unflatten(structure, filled)
            out, out_structure = to_arrays(fn(*args, **kwargs), "result", "checkpoint")
            out_structures.append(out_structure)
            return out

        out = mx.checkpoint(flat)(*[leaves[i] for i in places])
        return tree.unflatten(out_structures[-1], list(out))

    return saving
