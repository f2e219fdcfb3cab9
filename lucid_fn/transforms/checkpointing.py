"""`checkpoint`: rematerialization, which saves memory in the backward pass."""

import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.ops.mlx_transforms import is_exporting
from lucid_fn.tracing import is_transforming, transforming
from lucid_fn.transforms import captures, diagnosis
from lucid_fn.transforms.arguments import check_function, fenced, name_of, to_arrays
from lucid_fn.transforms.closures import closure_convert
from lucid_fn.types import Array


def checkpoint(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Makes the backward pass of `fn` compute the intermediate results again.

    That saves the memory that they take, for the time of one more forward pass. The
    second pass has the variables of the closure of `fn` as they were at the call. A
    counter that `fn` itself keeps has moved on by then, so no result may depend on it:
    pass a random key, say, instead of making one from a count of calls.

    Args:
        fn: a function of trees of arrays to a tree of arrays. Arguments that are not
            arrays are constants; integer arrays, such as random keys and labels, get
            no gradient. Gradients flow to the arrays that it closes over, too.

    Raises:
        TypeError: if `fn` is not a function; when called, if a result is not an array.
        ValueError: when called, if `fn` returns no array at all, or inside `grad`, if
            `fn` reads params in a set, in an attribute of an object or in a global
            variable: no gradient would reach them. In the backward pass, if something
            that `fn` reads has changed since, other than variables of its closure.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> lf.grad(lf.checkpoint(lambda x: mx.sin(mx.sin(x))))(0.0)
        array(1, dtype=float32)
    """

    check_function("checkpoint", fn)

    @functools.wraps(fn)
    def saving(*args: Any, **kwargs: Any) -> Any:
        made = closure_convert(fn, "checkpoint")
        leaves, structure = tree.flatten((args, kwargs))
        captures.check_constants(leaves, args, kwargs, fn, "checkpoint")
        places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, mx.array)]
        out_structures: list[tree.Structure] = []

        def flat(arrays: list[Array]) -> list[Array]:
            arrays = list(map(_differentiable, arrays))
            filled = list(leaves)
            for place, array in zip(places, arrays[len(made.arrays) :], strict=True):
                filled[place] = array
            args, kwargs = tree.unflatten(structure, filled)
            with diagnosis.drawing_nothing(name_of(fn), "checkpoint"):
                value = made.rebuild(arrays[: len(made.arrays)])(*args, **kwargs)
            made.outside.note_run()
            out, out_structure = to_arrays(value, "result", "checkpoint")
            if not out:
                raise ValueError(
                    f"checkpoint: `{name_of(fn)}` must return at least one array, got "
                    "none"
                )
            out_structures.append(out_structure)
            return out

        arrays = [*made.arrays, *(leaves[place] for place in places)]
        out = _recomputed(flat)(list(map(_differentiable, arrays)))
        return tree.unflatten(out_structures[-1], out)

    return saving


def _differentiable(array: Array) -> Array:
    """The array, without a gradient if it is not a float, such as a random key."""
    return array if mx.issubdtype(array.dtype, mx.inexact) else mx.stop_gradient(array)


def _recomputed(
    flat: Callable[[list[Array]], list[Array]],
) -> Callable[[list[Array]], list[Array]]:
    """`flat`, whose derivative keeps only its arguments.

    `mx.checkpoint` would do if its barrier had a rule for vmap, and if it were fenced.
    """
    if is_exporting():  # a file says nothing about memory
        return flat
    saved: Any = mx.custom_function(flat)

    @saved.vjp  # type: ignore[untyped-decorator]  # untyped in MLX's stubs
    def pull(
        arrays: list[Array], cotangents: list[Array], out: list[Array]
    ) -> list[Array]:
        again = fenced(lambda *arrays: flat(list(arrays)))
        # Without a derivative of this library around, it is one of MLX, `mx.grad`.
        with nullcontext() if is_transforming() else transforming(reverse=True):
            return mx.vjp(again, after(arrays, [*cotangents, *out]), cotangents)[1]

    return saved  # type: ignore[no-any-return]  # a function in truth


def _wait(arrays: list[Array], others: list[Array]) -> list[Array]:
    """The arrays, made to depend on the others.

    Else the results could be computed again while those of the forward pass are alive,
    and compiling would merge the two.
    """
    firsts = [x[(slice(0, 1),) * x.ndim] for x in others if x.size]
    if not firsts:
        return arrays
    # Any condition would do that depends on all of the others.
    conditions = [mx.any(first == first) for first in firsts]
    either = functools.reduce(mx.logical_or, conditions)
    return [mx.where(either, x, x) for x in arrays]


_after: Any = mx.custom_function(_wait)


def after(arrays: list[Array], others: list[Array]) -> list[Array]:
    """`arrays`, which are not computed before `others` are."""
    if is_exporting():  # a file holds the operations in their order
        return arrays
    out: list[Array] = _after(arrays, others)
    return out


@_after.vmap  # type: ignore[untyped-decorator]  # untyped in MLX's stubs
def _(
    inputs: tuple[list[Array], list[Array]], axes: tuple[list[Any], list[Any]]
) -> tuple[list[Array], list[int]]:
    every = zip([*inputs[0], *inputs[1]], [*axes[0], *axes[1]], strict=True)
    size = next(x.shape[axis] for x, axis in every if axis is not None)
    # MLX takes each result of such a rule for a batch, even if all examples share it.
    waited = [
        mx.broadcast_to(x, (size, *x.shape)) if axis is None else x
        for x, axis in zip(_wait(*inputs), axes[0], strict=True)
    ]
    return waited, [axis or 0 for axis in axes[0]]
