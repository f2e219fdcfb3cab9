"""`cond`: one of two functions, by a condition."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn import tree
from lucid_fn.checks import check_function, check_parameters
from lucid_fn.ops import mlx_transforms
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.mlx_transforms import as_list, at, directions, filled, floats
from lucid_fn.tracing import (
    any_traced,
    are_rules_bypassed,
    bypassing_rules,
    may_start,
    repeating,
    transforming,
)
from lucid_fn.transforms import diagnosis
from lucid_fn.transforms.arguments import describe, fenced, name_of
from lucid_fn.transforms.bodies import arrays_of
from lucid_fn.transforms.closures import closure_convert
from lucid_fn.tree.mapping import describe as show
from lucid_fn.types import Array, Tree

Flat = Callable[[list[Array]], list[Array]]


def cond(
    pred: Any,
    true_fn: Callable[..., Any],
    false_fn: Callable[..., Any],
    *operands: Tree,
) -> Tree:
    """`true_fn(*operands)` if `pred` holds, else `false_fn(*operands)`.

    Where the condition can be read, only one function runs. Inside `jit`, `grad` and
    `vmap` an array cannot be read: both functions are computed, and one result is
    selected. So is the derivative: a NaN of the other function does not come through,
    as it does with `mx.where`.

    Args:
        pred: a bool, a number or an array of shape `()`.
        true_fn: a pure function of the operands.
        false_fn: likewise, with results of the same structure, shapes and dtypes.
        operands: trees; leaves that are not arrays or numbers are constants.

    Returns:
        What the function returns.

    Raises:
        TypeError: if `pred` is not a scalar, or `true_fn` or `false_fn` not a function;
            if both are computed, and their results differ in structure, shape or dtype.
        ValueError: inside a transformation, if a function reads an array of it in an
            attribute of an object; in the derivative, if something that a function
            reads has changed since the call, other than variables of its closure.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> root = lambda x: lf.cond(x > 0, mx.sqrt, mx.zeros_like, x)
        >>> lf.grad(root)(0.0)
        array(0, dtype=float32)
    """
    check_function("cond", "true_fn", true_fn)
    check_function("cond", "false_fn", false_fn)
    names = [f"operands[{i}]" for i in range(len(operands))]
    check_parameters("cond", "true_fn", true_fn, names)
    check_parameters("cond", "false_fn", false_fn, names)
    if isinstance(pred, bool | int | float | np.generic):
        return (true_fn if pred else false_fn)(*operands)
    if not isinstance(pred, mx.array) or pred.shape != ():
        raise TypeError(
            f"cond: pred must be a bool or an array of shape (), got {describe(pred)}; "
            "choose by element with mx.where"
        )
    if may_start() and not any_traced([pred]):
        return (true_fn if pred.item() else false_fn)(*operands)
    return _both(pred, true_fn, false_fn, operands)


def _both(
    pred: Array,
    true_fn: Callable[..., Any],
    false_fn: Callable[..., Any],
    operands: tuple[Tree, ...],
) -> Tree:
    functions, passed = (
        closure_convert((true_fn, false_fn), "cond"),
        are_rules_bypassed(),
    )
    leaves, structure = tree.flatten(operands)
    places = [i for i, leaf in enumerate(leaves) if isinstance(leaf, mx.array)]
    captured = len(functions.arrays)
    found: dict[int, tuple[Tree, tree.Structure]] = {}

    def flat(which: int) -> Flat:
        def run(arrays: list[Array]) -> list[Array]:
            values = filled(leaves, places, arrays[captured:])
            fn = functions.rebuild(arrays[:captured])[which]
            with repeating("cond"), diagnosis.drawing_nothing(name_of(fn), "cond"):
                out = fn(*tree.unflatten(structure, values))
            functions.outside.note_run()
            results, out_structure = arrays_of(out, "the result", "cond")
            found[which] = out, out_structure
            return results

        return run

    arrays = [*functions.arrays, *(leaves[place] for place in places)]
    ours, theirs = (_passing(flat(i)) if passed else flat(i) for i in (0, 1))
    results = _choose(pred, ours, theirs, arrays, lambda a, b: _check(found, a, b))
    if not found:  # a trace for export has the results, and runs no function
        flat(0)(arrays)
    return tree.unflatten(found[0][1], results)


def _check(
    found: dict[int, tuple[Tree, tree.Structure]], a: list[Array], b: list[Array]
) -> None:
    (ours, structure), (theirs, other) = found[0], found[1]
    if structure != other:
        raise TypeError(
            "cond: true_fn and false_fn must return trees of one structure, got "
            f"{show(ours)} and {show(theirs)}"
        )
    for x, y, path in zip(a, b, tree.paths(ours), strict=True):
        if (x.shape, x.dtype) != (y.shape, y.dtype):
            where = f" at {path}" if path else ""
            raise TypeError(
                "cond: true_fn and false_fn must return arrays of one shape and dtype, "
                f"got {describe(x)} and {describe(y)}{where}"
            )


def _choose(
    pred: Array,
    a: Flat,
    b: Flat,
    arrays: list[Array],
    check: Callable[[list[Array], list[Array]], None] = lambda a, b: None,
) -> list[Array]:
    """`a(arrays)` or `b(arrays)`, with the derivative of the same function."""

    def choose(*flat: Array) -> tuple[Array, ...]:
        holds, *given = map(mx.stop_gradient, flat)
        ours, theirs = a(given), b(given)
        check(ours, theirs)
        return tuple(
            mx.where(holds != 0, x, y) for x, y in zip(ours, theirs, strict=True)
        )

    custom = custom_function(choose)
    uses = 0  # of the rules; the first is that of the innermost derivative

    def functions() -> tuple[Flat, Flat]:
        nonlocal uses
        uses += 1
        return (a, b) if uses == 1 else (_passing(a), _passing(b))

    places = floats(arrays)

    @custom.vjp
    def vjp(primals: Any, cotangents: Any, outputs: Any) -> tuple[Array, ...]:
        holds, *xs = primals
        kept = floats(as_list(outputs))
        grads = list(map(mx.zeros_like, xs))
        if places and kept:
            given = [*xs, *at(as_list(cotangents), kept)]
            ours, theirs = (_pull(fn, places, kept, len(xs)) for fn in functions())
            grads = filled(grads, places, _choose(holds, ours, theirs, given))
        return (mx.zeros_like(holds), *grads)

    @custom.jvp
    def jvp(primals: Any, tangents: Any) -> tuple[Array, ...]:
        holds, *xs = primals
        given = [*xs, *at(directions(xs, list(tangents)[1:]), places)]
        ours, theirs = (_push(fn, places, len(xs)) for fn in functions())
        return tuple(_choose(holds, ours, theirs, given))

    return as_list(custom(pred, *arrays))


def _passing(fn: Flat) -> Flat:
    """`fn` for the derivatives that are not the innermost one."""

    def run(arrays: list[Array]) -> list[Array]:
        with bypassing_rules():
            return fn(arrays)

    return run


def _pull(fn: Flat, places: list[int], kept: list[int], count: int) -> Flat:
    def pull(arrays: list[Array]) -> list[Array]:
        xs, cotangents = arrays[:count], arrays[count:]

        def values(*given: Array) -> list[Array]:
            return at(fn(filled(xs, places, given)), kept)

        with transforming():
            return mlx_transforms.vjp(fenced(values), at(xs, places), cotangents)[1]

    return pull


def _push(fn: Flat, places: list[int], count: int) -> Flat:
    def push(arrays: list[Array]) -> list[Array]:
        xs, tangents = arrays[:count], arrays[count:]

        def values(*given: Array) -> list[Array]:
            return fn(filled(xs, places, given))

        with transforming():
            return mlx_transforms.jvp(values, at(xs, places), tangents)[1]

    return push
