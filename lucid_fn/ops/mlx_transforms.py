"""`mx.vmap` and MLX's derivatives, which also work in functions traced for a file.

A file holds MLX's own operations, so a custom function, whose rules are Python, may not
be among them. While a function is traced for `lf.export`, custom functions are
therefore run as they are, and each transformation around them handles their calls. A
derivative cuts its function at each of them: MLX differentiates what lies between two
cuts, and the rules are applied here. The result is the graph that MLX's own derivative
has, without the custom functions.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, Protocol

import mlx.core as mx

from lucid_fn.context import holding
from lucid_fn.tracing import mapped as mlx_vmap, tracked
from lucid_fn.types import Array


class CustomFunction(Protocol):
    """A function, and its rules by the name of their transformation."""

    fn: Callable[..., Any]
    rules: dict[str, Callable[..., Any]]


# How a transformation carries out a call of a custom function inside of it.
Handler = Callable[[CustomFunction, tuple[Array, ...]], Any]

# One for each enclosing transformation, innermost last; `None` outside of exports.
_handlers: ContextVar[tuple[Handler, ...] | None] = ContextVar("handlers", default=None)

# An argument of the function that is traced for export.
_exported_argument: ContextVar[Array] = ContextVar("exported argument")


def is_exporting() -> bool:
    """Whether a function is being traced for export, or checked before it is."""
    return _handlers.get() is not None


@contextmanager
def exporting(argument: Array) -> Iterator[None]:
    """Traces a function for export: custom functions leave only MLX's operations.

    Args:
        argument: any argument of the function that is traced.
    """
    with holding(_exported_argument, argument), holding(_handlers, ()):
        yield


def checking() -> AbstractContextManager[Any]:
    """Inside the block, derivatives by `mx.grad` and the like are errors.

    They would not see the rules of custom functions in an export. Those of the library
    work as usual.
    """
    return holding(_handlers, (_without_derivatives,))


def call(function: CustomFunction, args: tuple[Array, ...]) -> Any:
    """Calls a custom function in a trace for export."""
    handlers = _handlers.get()
    if not handlers:
        return function.fn(*args)
    return handlers[-1](function, args)


def _without_derivatives(function: CustomFunction, args: tuple[Array, ...]) -> Any:
    """Calls a custom function whose derivatives are errors."""
    return _with_vmap_only(function.fn, function.rules["vmap"])(*args)


def _with_vmap_only(
    fn: Callable[..., Any], vmap: Callable[..., Any]
) -> Callable[..., Any]:
    """A custom function of MLX with a rule for `vmap`; derivatives are errors."""

    def refuse(*_: Any) -> Any:
        raise TypeError(
            "export: derivatives must be taken by lf.grad, lf.vjp and so on, got one "
            "of mx.grad or mx.vjp, which would not see the library's own rules"
        )

    custom: Any = mx.custom_function(fn)
    custom.vjp(refuse)
    custom.jvp(refuse)
    custom.vmap(vmap)
    return custom  # type: ignore[no-any-return]  # a function in truth


def without_handlers(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn`, whose custom functions are hidden from the enclosing transformations."""

    def run(*args: Any) -> Any:
        with holding(_handlers, ()):
            return fn(*args)

    return run


def contiguous(x: Array) -> Array:
    """`mx.contiguous`, which ends a fused kernel; not in exported functions."""
    return x if is_exporting() else mx.contiguous(x)


def _uses_mlx_rules() -> bool:
    """Whether MLX applies the rules of custom functions: nothing is being exported."""
    handlers = _handlers.get()
    return handlers is None or handlers[:1] == (_without_derivatives,)


# ---- vmap and derivatives ----


Flat = Callable[..., Any]  # from arrays to a list of arrays
Slot = tuple[int, int]  # a result of a call: the numbers of call and result


def vmap(fn: Callable[..., Any], in_axes: Any = 0) -> Callable[..., Any]:
    """`mx.vmap`, with the rules of the custom functions inside of `fn`."""

    def mapped(*args: Array) -> Any:
        handlers = _handlers.get()
        if handlers is None:
            return mlx_vmap(fn, in_axes)(*args)
        axes = in_axes if isinstance(in_axes, tuple) else (in_axes,) * len(args)
        size = next(
            x.shape[axis]
            for x, axis in zip(args, axes, strict=True)
            if axis is not None
        )

        def inside(row: Array, *args: Array) -> Any:
            def vectorized(function: CustomFunction, args: tuple[Array, ...]) -> Any:
                return _vectorized(function, args, row, size)

            with holding(_handlers, (*handlers, vectorized)):
                return fn(*args)

        return mlx_vmap(inside, (0, *axes))(mx.zeros(size), *args)

    return mapped


def _vectorized(
    function: CustomFunction, args: tuple[Array, ...], row: Array, size: int
) -> Any:
    """Calls a custom function of MLX, which disappears when `vmap` applies its rule.

    MLX applies it only where an argument is mapped, so `row` is passed too, which is.
    """

    def rule(arrays: Any, axes: Any) -> tuple[Any, Any]:
        *given, _ = arrays
        if any(axis is not None for axis in axes[:-1]):
            pair = unpacked(given), unpacked(axes[:-1])
            return function.rules["vmap"](*pair)  # type: ignore[no-any-return]
        y = call(function, tuple(given))
        rows = [mx.broadcast_to(x, (size, *x.shape)) for x in as_tuple(y)]
        return like(rows, y), like([0] * len(rows), y)

    return _with_vmap_only(lambda *flat: function.fn(*flat[:-1]), rule)(*args, row)


def value_and_grad(fn: Flat) -> Flat:
    """`mx.value_and_grad` of a function of a list of arrays.

    It returns a loss, or a tuple of a loss and auxiliary values.
    """

    def both(leaves: list[Array]) -> tuple[Any, list[Array]]:
        if _uses_mlx_rules():
            with holding(_handlers, None):
                return mx.value_and_grad(fn)(leaves)
        found: list[Any] = []

        def loss(*leaves: Array) -> list[Array]:
            found.append(fn(list(leaves)))
            return [found[-1][0] if isinstance(found[-1], tuple) else found[-1]]

        def ones(out: list[Array]) -> list[Array]:
            return [mx.ones_like(out[0])]

        grads = _vjp_by_pieces(loss, leaves, ones)[1]
        return found[0], grads

    return both


def vjp(
    fn: Flat, primals: list[Array], cotangents: list[Array]
) -> tuple[list[Array], list[Array]]:
    """`mx.vjp` of a function from arrays to a list of arrays."""
    if _uses_mlx_rules():
        with holding(_handlers, None):
            return mx.vjp(fn, primals, cotangents)
    return _vjp_by_pieces(fn, primals, lambda _: cotangents)


def jvp(
    fn: Flat, primals: list[Array], tangents: list[Array]
) -> tuple[list[Array], list[Array]]:
    """`mx.jvp` of a function from arrays to a list of arrays."""
    if _uses_mlx_rules():
        with holding(_handlers, None):
            return mx.jvp(fn, primals, tangents)
    return _jvp_by_pieces(fn, primals, tangents)


# ---- functions cut at their custom functions ----


class Call(NamedTuple):
    """One call of a custom function."""

    function: CustomFunction
    args: tuple[Array, ...]
    out: Any  # an array or a sequence of arrays


class _StopAtCall(BaseException):  # passes `except Exception` in user code
    """Ends a run at the custom function whose arguments are wanted."""

    def __init__(self, args: tuple[Array, ...]) -> None:
        self.args_of_call = args


class _CutFunction:
    """A function in pieces, which end at its calls of custom functions.

    A piece takes the arguments of the function and results of earlier calls, and
    returns the arguments of a call, or the results of the function.
    """

    def __init__(self, fn: Flat, primals: list[Array], kind: str) -> None:
        self._fn = fn
        self._primals = primals
        self._kind = kind  # of the rules: "vjp" or "jvp"
        self.calls: list[Call] = []
        with self._handling(self._record):
            self.out = as_list(fn(*primals))

    @contextmanager
    def _handling(self, run: Handler) -> Iterator[None]:
        outer = _handlers.get() or ()

        def with_rule(function: CustomFunction, args: tuple[Array, ...]) -> Any:
            if self._kind not in function.rules:  # differentiated as it is
                return function.fn(*args)
            with holding(_handlers, outer):
                return run(function, args)

        with holding(_handlers, (*outer, with_rule)):
            yield

    def _record(self, function: CustomFunction, args: tuple[Array, ...]) -> Any:
        out = call(function, args)
        self.calls.append(Call(function, args, out))
        return out

    def piece(self, last: int | None, slots: list[Slot]) -> Flat:
        """The piece that ends at call `last`; `None`: at the function's results.

        It takes the primals and the results in `slots`.
        """

        def run(*arrays: Array) -> list[Array]:
            given = dict(zip(slots, arrays[len(self._primals) :], strict=True))
            number = 0

            def known(function: CustomFunction, args: tuple[Array, ...]) -> Any:
                nonlocal number
                if number == last:
                    raise _StopAtCall(args)
                out = self.calls[number].out
                values = [
                    given.get((number, i), y) for i, y in enumerate(as_tuple(out))
                ]
                number += 1
                return like(values, out)

            try:
                with self._handling(known):
                    out = as_tuple(self._fn(*arrays[: len(self._primals)]))
            except _StopAtCall as stop:
                out = tuple(x for x in stop.args_of_call if _is_inexact(x))
            # `contiguous` hides a `stop_gradient`, for which MLX would expect no
            # cotangent. It is not computed.
            return [mx.contiguous(y) for y in out]

        return run

    def slots(self, calls: Sequence[int]) -> list[Slot]:
        """The results of these calls that can have derivatives."""
        return [
            (call, i)
            for call in calls
            for i, y in enumerate(as_tuple(self.calls[call].out))
            if _is_inexact(y)
        ]

    def arrays(self, slots: list[Slot]) -> list[Array]:
        """The arguments of a piece: the primals, and the results in `slots`."""
        values = [as_tuple(self.calls[call].out)[i] for call, i in slots]
        arrays = [*self._primals, *values]
        return tracked(arrays) if _handlers.get() else arrays

    def reached(self, cotangents: list[Array]) -> list[int]:
        """The calls on the way from the primals to the results, in order."""
        found: set[int] = set()
        numbers = iter(range(len(self.calls)))

        def marked(function: CustomFunction, args: tuple[Array, ...]) -> Any:
            number = next(numbers)
            out = self.calls[number].out
            custom: Any = mx.custom_function(lambda *_: out)

            @custom.vjp  # type: ignore[untyped-decorator]  # untyped in MLX's stubs
            def mark(primals: Any, *_: Any) -> Any:
                found.add(number)
                return like([mx.zeros_like(x) for x in as_tuple(primals)], primals)

            return custom(*args)

        def whole(*arrays: Array) -> list[Array]:
            with self._handling(marked):
                return [mx.contiguous(y) for y in as_tuple(self._fn(*arrays))]

        mx.vjp(whole, self.arrays([]), cotangents)
        return sorted(found)


def _vjp_by_pieces(
    fn: Flat, primals: list[Array], cotangents_of: Callable[[list[Array]], list[Array]]
) -> tuple[list[Array], list[Array]]:
    cut = _CutFunction(fn, primals, "vjp")
    cotangents = [_anchored(g) for g in cotangents_of(cut.out)]
    reached = cut.reached(cotangents)
    grads: dict[Any, Array] = {}  # by the number of a primal, or by slot

    def pull(last: int | None, cotangents: list[Array]) -> None:
        slots = cut.slots([i for i in reached if last is None or i < last])
        piece = cut.piece(last, slots)
        found = mx.vjp(piece, cut.arrays(slots), cotangents)[1]
        keys = [*range(len(primals)), *slots]
        for key, grad, zero in zip(keys, found, _are_zero(found), strict=True):
            if not zero:
                grads[key] = grads[key] + grad if key in grads else grad

    pull(None, cotangents)
    for number in reversed(reached):
        function, args, out = cut.calls[number]
        results = as_tuple(out)
        if not any((number, i) in grads for i in range(len(results))):
            continue
        given = [
            grads[number, i] if (number, i) in grads else mx.zeros_like(y)
            for i, y in enumerate(results)
        ]
        grad = function.rules["vjp"](unpacked(args), like(given, out), out)
        pairs = zip(args, as_tuple(grad), strict=True)
        pull(number, [grad for x, grad in pairs if _is_inexact(x)])
    zeros = (mx.zeros_like(x) for x in primals)
    return cut.out, [grads.get(i, zero) for i, zero in enumerate(zeros)]


def _jvp_by_pieces(
    fn: Flat, primals: list[Array], tangents: list[Array]
) -> tuple[list[Array], list[Array]]:
    cut = _CutFunction(fn, primals, "jvp")
    tangents = [_anchored(x) for x in tangents]
    found: dict[Slot, Array] = {}  # tangents of results

    def push(last: int | None) -> list[Array]:
        slots = list(found)
        piece = cut.piece(last, slots)
        return mx.jvp(piece, cut.arrays(slots), [*tangents, *found.values()])[1]

    for number, (function, args, _) in enumerate(cut.calls):
        pushed = push(number)
        pairs = iter(zip(pushed, _are_zero(pushed), strict=True))
        given: list[Array | None] = []
        for x in args:
            tangent, zero = next(pairs) if _is_inexact(x) else (None, True)
            given.append(None if zero else tangent)
        if all(x is None for x in given):
            continue
        results = function.rules["jvp"](unpacked(args), unpacked(given))
        for i, y in enumerate(as_tuple(results)):
            if _is_inexact(y):
                found[number, i] = y
    return cut.out, push(None)


def _anchored(x: Array) -> Array:
    """`x`, made dependent on an argument of the exported function."""
    argument = _exported_argument.get()
    known = mx.any(argument[(slice(0, 1),) * argument.ndim])
    return mx.where(known, x, x)


def _are_zero(arrays: list[Array]) -> list[bool]:
    """Which arrays are the zeros that MLX returns where there is no derivative.

    All others are linear in anchored arrays, so that they have no value in a trace, and
    an evaluation fails. Most are zeros, which take as long together as one.
    """
    try:
        mx.eval(arrays)
    except (ValueError, RuntimeError):
        if len(arrays) == 1:
            return [False]
        half = len(arrays) // 2
        return _are_zero(arrays[:half]) + _are_zero(arrays[half:])
    return [True] * len(arrays)


def _is_inexact(x: Array) -> bool:
    return mx.issubdtype(x.dtype, mx.inexact)


# ---- arguments and results of rules ----


# A single argument or result is an array instead of a sequence of arrays.
def as_list(arrays: Any) -> list[Any]:
    return list(arrays) if isinstance(arrays, list | tuple) else [arrays]


def as_tuple(arrays: Any) -> tuple[Any, ...]:
    return tuple(as_list(arrays))


def unpacked(args: Sequence[Any]) -> Any:
    """Arguments as MLX passes them to a rule: a single one is not in a tuple."""
    return tuple(args) if len(args) > 1 else args[0]


def like(arrays: Sequence[Any], example: Any) -> Any:
    """Arrays in the form of an example: an array, or a tuple of arrays."""
    return tuple(arrays) if isinstance(example, list | tuple) else arrays[0]


def directions(primals: Any, tangents: Any) -> list[Array]:
    """The tangents, with zeros for constant arguments, for which MLX passes `None`."""
    pairs = zip(as_list(primals), as_list(tangents), strict=True)
    return [mx.zeros_like(x) if dx is None else dx for x, dx in pairs]


def floats(arrays: list[Array]) -> list[int]:
    """The indices of the arrays that can have derivatives."""
    return [i for i, x in enumerate(arrays) if _is_inexact(x)]


def at(arrays: Sequence[Any], indices: list[int]) -> list[Any]:
    return [arrays[i] for i in indices]


def filled(
    arrays: list[Array], indices: list[int], values: Sequence[Array]
) -> list[Array]:
    """The arrays, with those at these indices replaced."""
    changed = list(arrays)
    for index, value in zip(indices, values, strict=True):
        changed[index] = value
    return changed
