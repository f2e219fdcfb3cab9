"""`vmap`: vectorization of functions over trees."""

import functools
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn import tree
from lucid_fn.ops.vectorize import noting_mapped, vectorize
from lucid_fn.tracing import ordering, repeating, start, transforming
from lucid_fn.transforms import diagnosis
from lucid_fn.transforms.arguments import (
    as_array,
    as_result,
    check_function,
    describe,
    leaf_paths,
    name_of,
    owned,
    parameter_names,
    remedy,
)
from lucid_fn.types import Array


def vmap(
    fn: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0
) -> Callable[..., Any]:
    """Vectorizes `fn`, which is written for one example, over a batch.

    Args:
        fn: a function of trees of arrays to a tree of arrays.
        in_axes: the axis of the batch in all arguments, or a sequence with one entry
            for each argument. An entry is an int, `None` for an argument that all
            examples share, or a tree of these that is a prefix of the argument.
        out_axes: the axis of the batch in the results, likewise; `None` for a result
            that is the same for all examples, and has no such axis.

    Some of MLX's rules are wrong where only one operand has the batch: those of `&`,
    `|`, `^`, `<<`, `>>`, of `!=` if the left operand has none, of `a[i] = b` and
    `a.at[i].add(b)` if `b` has none, that of `mx.addmm(c, a, b)` if only `c` has it,
    and that of `mx.divmod`. Their use in `fn` or in its derivative is an error that
    says what to write instead, such as `mx.logical_and`.

    Returns:
        The vectorized function. Arrays among the keyword arguments are mapped over axis
        0, as in JAX; other keyword arguments, such as `train=True`, are shared by all
        examples.

    Raises:
        ValueError: when called, if `in_axes` or `out_axes` does not fit, an axis is
            out of range, the sizes of the batch differ, no argument has one, a result
            with the axis `None` differs between the examples, if `fn` uses MLX's hidden
            random state, which would give all examples the same numbers, or if MLX
            would vectorize one of its operations wrongly.
        TypeError: if `fn` is not a function; when called, if a leaf is neither an array
            nor a number, or if `fn` needs the value of an array.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> dot = lambda params, x: params["w"] @ x
        >>> lf.vmap(dot, in_axes=(None, 0))({"w": mx.ones(2)}, mx.ones((3, 2)))
        array([2, 2, 2], dtype=float32)
    """
    check_function("vmap", fn)
    name = name_of(fn)
    names = parameter_names(fn)

    @functools.wraps(fn)
    def vectorized(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = tree.flatten((args, kwargs))
        if isinstance(in_axes, int) or in_axes is None:
            per_arg = (in_axes,) * len(args)
        elif type(in_axes) in (tuple, list) and len(in_axes) == len(args):
            per_arg = tuple(in_axes)
        else:
            raise ValueError(
                f"vmap: in_axes must be an int, None or a sequence with one entry for "
                f"each of the {len(args)} arguments of `{name}`, got {in_axes!r}"
            )
        axes = _spread(per_arg, args, "in_axes")
        axes += [0 if _is_array(leaf) else None for leaf in tree.leaves(kwargs)]
        paths = leaf_paths(names, args, kwargs)
        mapped = _check_axes(leaves, axes, paths, name)
        out_structures: list[tree.Structure] = []

        def flat(*arrays: Array) -> list[Array]:
            rest = iter(arrays)
            filled = [
                owned(leaf) if axis is None else next(rest)
                for leaf, axis in zip(leaves, axes, strict=True)
            ]
            given, named = tree.unflatten(structure, filled)
            with (
                repeating("vmap"),
                diagnosis.drawing_nothing(
                    name,
                    "vmap",
                    f"which would give all examples of `{name}` the same numbers",
                    "give it a key an example, from random.split",
                    again=lambda: fn(*given, **named),
                ),
            ):
                out = fn(*given, **named)
            out_leaves, out_structure = tree.flatten(out)
            out_structures.append(out_structure)
            found: list[Array] = []
            for leaf in out_leaves:
                array = as_result(leaf)
                if array is None:
                    raise TypeError(
                        f"vmap: `{name}` must return arrays, got {describe(leaf)}"
                    )
                found.append(array)
            return found

        fix = "use other operations or a loop"
        with (
            diagnosis.explaining_value_reads(name, "vmap"),
            transforming(),
            ordering(new=True) as order,
            diagnosis.explains_missing_rule("vmap", fix),
        ):
            given = [axis for axis in axes if axis is not None]
            out = vectorize(flat, given, "vmap", f"`{name}`")(*mapped)
        if order.last is not None:  # a collective, as at the end of `transforming`
            start(list(out))
        result = tree.unflatten(out_structures[-1], list(out))
        places = _spread(out_axes, result, "out_axes")
        for i, axis in enumerate(places):
            if axis is None and _is_mapped(flat, i, axes, mapped):
                path = ".".join(filter(None, ("result", tree.paths(result)[i])))
                raise ValueError(
                    f"vmap: out_axes must be an axis for {path} of `{name}`, which "
                    "differs between the examples, got None; reduce it first, as by "
                    "mx.mean over the batch outside of vmap, or use 0"
                )
        moved = [_place(x, axis, name) for x, axis in zip(out, places, strict=True)]
        return tree.unflatten(out_structures[-1], moved)

    return vectorized


def _is_array(leaf: Any) -> bool:
    return isinstance(leaf, mx.array | np.ndarray)


def _spread(axes: Any, values: Any, what: str) -> list[int | None]:
    """The axis of each leaf of `values`, from a tree that is a prefix of it."""
    if axes is None or isinstance(axes, int):
        return [axes] * len(tree.leaves(values))
    try:
        if isinstance(axes, dict) and axes.keys() == values.keys():
            parts = [_spread(axes[key], values[key], what) for key in sorted(values)]
        elif isinstance(axes, list | tuple) and len(axes) == len(values):
            parts = [_spread(a, v, what) for a, v in zip(axes, values, strict=True)]
        else:
            raise TypeError
    except (AttributeError, TypeError):
        raise ValueError(
            f"vmap: {what} must be an int, None or a tree of these that begins like "
            f"the values, got {axes!r}"
        ) from None
    return [axis for part in parts for axis in part]


def _check_axes(
    leaves: list[Any], axes: list[int | None], paths: list[str], name: str
) -> list[Array]:
    """The arrays to map over, checked to have batches of one size."""
    mapped: list[Array] = []
    first: tuple[str, int] | None = None
    for leaf, axis, path in zip(leaves, axes, paths, strict=True):
        if axis is None:
            continue
        array = as_array(leaf)
        if array is None or not -array.ndim <= axis < array.ndim:
            fix = remedy(leaf) or (
                "use None in in_axes for what all examples share, or read that from "
                "outside of the function"
            )
            raise ValueError(
                f"vmap: {path} of `{name}` must have an axis {axis} to map over, got "
                f"{describe(leaf)}; {fix}"
            )
        size = array.shape[axis]
        if first is None:
            first = (path, size)
        elif size != first[1]:
            raise ValueError(
                f"vmap: the mapped axes of `{name}` must have one size, got "
                f"{first[1]} for {first[0]} and {size} for {path}"
            )
        mapped.append(array)
    if first is None:
        raise ValueError(f"vmap: `{name}` has no argument with an axis to map over")
    return mapped


def _is_mapped(
    flat: Callable[..., list[Array]],
    i: int,
    axes: list[int | None],
    mapped: list[Array],
) -> bool:
    """Whether result `i` depends on a mapped argument: MLX raises an error, then."""
    in_axes = tuple(axis for axis in axes if axis is not None)
    try:
        with transforming(), ordering(new=True):
            one = noting_mapped(lambda *arrays: [flat(*arrays)[i]], in_axes)
            mx.vmap(one, in_axes, [None])(*mapped)
    except ValueError as error:
        if "[vmap] Axis -1 invalid" in str(error):
            return True
        raise
    return False


def _place(x: Array, axis: int | None, name: str) -> Array:
    """`x` with the batch at `axis`, or the first of equal examples for `None`."""
    if axis is None:
        return x[0]
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"vmap: out_axes must be axes of the results of `{name}` with the batch, "
            f"got {axis} for a result of shape {x.shape}"
        )
    return mx.moveaxis(x, 0, axis)
