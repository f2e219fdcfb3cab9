"""Loops on a condition, and loops over a counter: `while_loop` and `fori_loop`."""

from collections.abc import Callable
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn import tree
from lucid_fn.checks import check_count, check_function, check_parameters
from lucid_fn.tracing import any_traced, may_start, start
from lucid_fn.transforms.arguments import describe, name_of
from lucid_fn.transforms.bodies import arrays_of, body_of, checked, with_dtypes
from lucid_fn.transforms.closures import closure_convert
from lucid_fn.transforms.iterations import MAX_UNROLLED
from lucid_fn.transforms.scan import run_scan
from lucid_fn.types import Array, Tree


def fori_loop(
    lower: int | Array,
    upper: int | Array,
    body: Callable[[Array, Any], Any],
    init: Tree,
) -> Tree:
    """Runs `carry = body(i, carry)` for each `i` from `lower` up to `upper - 1`.

    It is a `scan` over the counter, so all derivatives work.

    Args:
        lower: the first value of the counter, an integer. An array is read, which is
            possible outside of transformations only.
        upper: the value after the last one; if not above `lower`, nothing runs.
        body: a pure function `(i, carry) -> carry`, with `i` an int32 array; compiled
            once. The carry keeps its structure, shapes and dtypes.
        init: the carry before the first iteration, as in `scan`.

    Returns:
        The carry after the last iteration.

    Raises:
        TypeError: if a bound is not an integer, or an array that cannot be read; as
            `scan` for `body` and the carry.
        ValueError: as `scan`.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> lf.fori_loop(0, 5, lambda i, total: total + i, 0)
        array(10, dtype=int32)
    """
    check_function("fori_loop", "body", body)
    first, last = _bound("lower", lower), _bound("upper", upper)
    counter = mx.arange(first, max(first, last), dtype=mx.int32)

    def call(body: Callable[..., Any], carry: Tree, i: Array) -> tuple[Tree, Tree]:
        check_parameters("fori_loop", "body", body, ("i", "carry"))
        return body(i, carry), None

    return run_scan(body, init, counter, len(counter), caller="fori_loop", call=call)[0]


def _bound(name: str, value: Any) -> int:
    if not isinstance(value, mx.array):
        return check_count(
            "fori_loop", name, value, at_least=-(2**31), kinds="an integer"
        )
    if value.shape != () or not mx.issubdtype(value.dtype, mx.integer):
        raise TypeError(
            f"fori_loop: {name} must be an integer of shape (), got {describe(value)}"
        )
    if not _is_readable([value]):
        raise TypeError(
            f"fori_loop: {name} must be a Python integer inside of jit, grad and vmap, "
            "where arrays cannot be read; name the parameter in static_argnames of "
            "jit, take int(n) outside of grad, or run the largest number it may be, "
            "with mx.where(i < n, new, old) in the body"
        )
    number: Any = value.item()
    return int(number)


def _is_readable(arrays: list[Array]) -> bool:
    return may_start() and not any_traced(arrays)


def while_loop(
    cond: Callable[[Any], Any], body: Callable[[Any], Any], init: Tree
) -> Tree:
    """Runs `carry = body(carry)` as long as `cond(carry)` holds.

    Both are compiled together, once, and the condition is read after each iteration. So
    the loop runs outside of `jit`, `grad` and `vmap`, and inside them only if the
    condition is a Python bool, made of Python numbers in the carry.

    Args:
        cond: a pure function of the carry to a bool or an array of shape `()`.
        body: a pure function `carry -> carry`. The carry keeps its structure, shapes
            and dtypes.
        init: the carry before the first iteration, as in `scan`.

    Returns:
        The first carry for which `cond` does not hold.

    Raises:
        TypeError: if `cond` or `body` is not a function, if `cond` does not return a
            scalar, or returns an array inside a transformation; as `scan` for the
            carry.
        ValueError: as `scan`, and inside a transformation after 2,048 iterations.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> lf.while_loop(lambda x: x < 100, lambda x: 2 * x, 3)
        array(192, dtype=int32)
    """
    check_function("while_loop", "cond", cond)
    check_function("while_loop", "body", body)
    check_parameters("while_loop", "cond", cond, ("carry",))
    carry, structure = arrays_of(init, "init", "while_loop")
    functions = closure_convert((cond, body), "while_loop")
    if not _is_readable([*carry, *functions.arrays]):
        return _unrolled(cond, body, init)
    carry = with_dtypes(init, carry, functions, None, body)

    def call(
        functions: tuple[Callable[..., Any], ...], carry: Tree, _: Tree
    ) -> tuple[Tree, Tree]:
        check_parameters("while_loop", "body", functions[1], ("carry",))
        carry = functions[1](carry)
        return carry, _scalar(functions[0](carry), name_of(cond))

    key = tuple((x.shape, x.dtype) for x in (*functions.arrays, *carry))
    no_inputs = tree.flatten(None)[1]
    traced = body_of(
        name_of(body), functions, structure, no_inputs, key, call, "while_loop"
    )
    step = traced.body
    holds = _scalar(cond(tree.unflatten(structure, carry)), name_of(cond))
    traced.outside.note_run()
    while bool(holds):
        *carry, holds = step([*functions.arrays, *carry])
        start(carry, holds)
    return tree.unflatten(structure, carry)


def _unrolled(
    cond: Callable[[Any], Any], body: Callable[[Any], Any], carry: Tree
) -> Tree:
    """The loop inside a transformation, with a condition that is a Python bool."""
    check_parameters("while_loop", "body", body, ("carry",))
    name = name_of(body)

    def check(path: str, old: Any, new: Any) -> Any:
        where = f"carry.{path}".rstrip(".")
        is_array = isinstance(old, mx.array)  # numbers stay numbers
        return checked(where, old, new, name, "while_loop") if is_array else new

    for _ in range(MAX_UNROLLED):
        holds = cond(carry)
        if not isinstance(holds, bool | np.bool_):
            raise TypeError(
                f"while_loop: `{name_of(cond)}` must return a Python bool inside of "
                f"jit, grad and vmap, where arrays cannot be read, got "
                f"{describe(holds)}; run the most iterations that it may take with "
                f"lf.fori_loop, and keep the carry in those after the end by lf.cond "
                f"or mx.where; or call while_loop outside of them"
            )
        if not holds:
            return carry
        carry = tree.map_with_path(check, carry, body(carry), caller="while_loop")
    raise ValueError(
        f"while_loop: a loop must end within {MAX_UNROLLED:,} iterations inside a "
        "transformation, which goes through every one of them"
    )


def _scalar(holds: Any, name: str) -> Any:
    shape = getattr(holds, "shape", ())
    if shape != () or not isinstance(holds, mx.array | bool | int | float | np.generic):
        raise TypeError(
            f"while_loop: `{name}` must return a bool, or an array of shape (), got "
            f"{describe(holds)}; reduce it with mx.all or mx.any"
        )
    return holds
