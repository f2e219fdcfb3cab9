"""`mx.vmap` and MLX's derivatives, which also work in functions traced for a file.

A file holds MLX's own operations, so a custom function, whose rules are Python, may not
be among them. While a function is traced for `lf.export`, custom functions are
therefore run as they are, and the transformations around them say what a call does
besides. A derivative then cuts its function at each of them: MLX differentiates what
lies between two cuts, and the rules are applied here. The result is the graph that
MLX's own derivative has, without the custom functions.
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
    """A function, and its rules by the transformation that they are for."""

    fn: Callable[..., Any]
    rules: dict[str, Callable[..., Any]]


# What a custom function does: a transformation that runs around it says so.
Run = Callable[[CustomFunction, tuple[Array, ...]], Any]

# The innermost one is the last; `None` outside of traces for export.
surrounding: ContextVar[tuple[Run, ...] | None] = ContextVar("around", default=None)

# An argument of the function that is traced for export.
anchor: ContextVar[Array] = ContextVar("anchor")


def is_exporting() -> bool:
    """Whether a function is traced for export, or checked before."""
    return surrounding.get() is not None


@contextmanager
def exporting(argument: Array) -> Iterator[None]:
    """Inside the block, custom functions leave nothing but MLX's operations.

    Args:
        argument: one of the function that is traced.
    """
    with holding(anchor, argument), surrounded_by(()):
        yield


@contextmanager
def checking() -> Iterator[None]:
    """Inside the block, derivatives work as usual, but those of `mx.grad` are errors.

    They know nothing of custom functions that are run as they are.
    """
    with surrounded_by((_refuse,)):
        yield


def surrounded_by(around: tuple[Run, ...] | None) -> AbstractContextManager[Any]:
    return holding(surrounding, around)


def call(function: CustomFunction, args: tuple[Array, ...]) -> Any:
    """What a custom function returns in a trace for export."""
    around = surrounding.get()
    if not around:
        return function.fn(*args)
    return around[-1](function, args)


def _refuse(function: CustomFunction, args: tuple[Array, ...]) -> Any:
    """A custom function of MLX that has no derivative."""
    return refusing(function.fn, function.rules["vmap"])(*args)


def refusing(fn: Callable[..., Any], vmap: Callable[..., Any]) -> Callable[..., Any]:
    """A custom function of MLX with a rule for `vmap` alone."""

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


def apart(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn`, whose custom functions the surrounding transformations do not see."""

    def run(*args: Any) -> Any:
        with surrounded_by(()):
            return fn(*args)

    return run


def contiguous(x: Array) -> Array:
    """`mx.contiguous`, which ends a fused kernel; left out of files."""
    return x if is_exporting() else mx.contiguous(x)


def is_usual() -> bool:
    """Whether custom functions are MLX's in derivatives: no trace is under way."""
    around = surrounding.get()
    return around is None or around[:1] == (_refuse,)


# ---- transformations of functions with custom functions inside ----


Flat = Callable[..., Any]  # from arrays to a list of arrays
Place = tuple[int, int]  # of an array: the number of the call, and of its result


def vmap(fn: Callable[..., Any], in_axes: Any = 0) -> Callable[..., Any]:
    """`mx.vmap`, with the rules of the custom functions inside of `fn`."""

    def mapped(*args: Array) -> Any:
        around = surrounding.get()
        if around is None:
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

            with surrounded_by((*around, vectorized)):
                return fn(*args)

        return mlx_vmap(inside, (0, *axes))(mx.zeros(size), *args)

    return mapped


def _vectorized(
    function: CustomFunction, args: tuple[Array, ...], row: Array, size: int
) -> Any:
    """A custom function of MLX, which is gone once its rule for `vmap` was applied.

    MLX does so where an argument is mapped, which is why it is given `row`.
    """

    def rule(arrays: Any, axes: Any) -> tuple[Any, Any]:
        *given, _ = arrays
        if any(axis is not None for axis in axes[:-1]):
            pair = unpacked(given), unpacked(axes[:-1])
            return function.rules["vmap"](*pair)  # type: ignore[no-any-return]
        y = call(function, tuple(given))
        rows = [mx.broadcast_to(x, (size, *x.shape)) for x in as_tuple(y)]
        return like(rows, y), like([0] * len(rows), y)

    return refusing(lambda *flat: function.fn(*flat[:-1]), rule)(*args, row)


def value_and_grad(fn: Flat) -> Flat:
    """`mx.value_and_grad` of a function of a list of arrays to a loss, or with more."""

    def both(leaves: list[Array]) -> tuple[Any, list[Array]]:
        if is_usual():
            with _as_usual():
                return mx.value_and_grad(fn)(leaves)
        found: list[Any] = []

        def loss(*leaves: Array) -> list[Array]:
            found.append(fn(list(leaves)))
            return [found[-1][0] if isinstance(found[-1], tuple) else found[-1]]

        def ones(out: list[Array]) -> list[Array]:
            return [mx.ones_like(out[0])]

        grads = _pull(loss, leaves, ones)[1]
        return found[0], grads

    return both


def vjp(
    fn: Flat, primals: list[Array], cotangents: list[Array]
) -> tuple[list[Array], list[Array]]:
    """`mx.vjp` of a function from arrays to a list of arrays."""
    if is_usual():
        with _as_usual():
            return mx.vjp(fn, primals, cotangents)
    return _pull(fn, primals, lambda _: cotangents)


def jvp(
    fn: Flat, primals: list[Array], tangents: list[Array]
) -> tuple[list[Array], list[Array]]:
    """`mx.jvp` of a function from arrays to a list of arrays."""
    if is_usual():
        with _as_usual():
            return mx.jvp(fn, primals, tangents)
    return _push(fn, primals, tangents)


@contextmanager
def _as_usual() -> Iterator[None]:
    """Inside the block, custom functions are MLX's, also in a check."""
    with surrounded_by(None):
        yield


# ---- a function cut at its custom functions ----


class Call(NamedTuple):
    """One call of a custom function."""

    function: CustomFunction
    args: tuple[Array, ...]
    out: Any  # an array or a sequence of arrays


class _Stop(BaseException):  # not to be caught by `except Exception` in user code
    """Ends a run at the custom function whose arguments are wanted."""

    def __init__(self, args: tuple[Array, ...]) -> None:
        self.args_of_call = args


class _Cut:
    """A function in pieces, each from its arguments and the results of the calls
    before, to the arguments of a call, or to the function's own results."""

    def __init__(self, fn: Flat, primals: list[Array], kind: str) -> None:
        self._fn = fn
        self._primals = primals
        self._kind = kind  # of rules
        self.calls: list[Call] = []
        with self._around(self._record):
            self.out = as_list(fn(*primals))

    @contextmanager
    def _around(self, run: Run) -> Iterator[None]:
        outer = surrounding.get() or ()

        def with_rule(function: CustomFunction, args: tuple[Array, ...]) -> Any:
            if self._kind not in function.rules:  # the derivative is that inside
                return function.fn(*args)
            with surrounded_by(outer):
                return run(function, args)

        with surrounded_by((*outer, with_rule)):
            yield

    def _record(self, function: CustomFunction, args: tuple[Array, ...]) -> Any:
        out = call(function, args)
        self.calls.append(Call(function, args, out))
        return out

    def piece(self, last: int | None, places: list[Place]) -> Flat:
        """From the primals and what is at `places` to the arguments of call `last`."""

        def run(*arrays: Array) -> list[Array]:
            given = dict(zip(places, arrays[len(self._primals) :], strict=True))
            number = 0

            def known(function: CustomFunction, args: tuple[Array, ...]) -> Any:
                nonlocal number
                if number == last:
                    raise _Stop(args)
                out = self.calls[number].out
                values = [
                    given.get((number, i), y) for i, y in enumerate(as_tuple(out))
                ]
                number += 1
                return like(values, out)

            try:
                with self._around(known):
                    out = as_tuple(self._fn(*arrays[: len(self._primals)]))
            except _Stop as stop:
                out = tuple(x for x in stop.args_of_call if _is_inexact(x))
            # Behind another operation, which is not computed, MLX does not see a
            # `stop_gradient`, for which it expects no cotangent.
            return [mx.contiguous(y) for y in out]

        return run

    def places(self, calls: Sequence[int]) -> list[Place]:
        """Those of the results of these calls that have derivatives."""
        return [
            (call, i)
            for call in calls
            for i, y in enumerate(as_tuple(self.calls[call].out))
            if _is_inexact(y)
        ]

    def arrays(self, places: list[Place]) -> list[Array]:
        """What a piece is given: the primals, and what is at `places`."""
        values = [as_tuple(self.calls[call].out)[i] for call, i in places]
        arrays = [*self._primals, *values]
        return tracked(arrays) if surrounding.get() else arrays

    def reached(self, cotangents: list[Array]) -> list[int]:
        """The calls that the results depend on, and that depend on the primals."""
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
            with self._around(marked):
                return [mx.contiguous(y) for y in as_tuple(self._fn(*arrays))]

        mx.vjp(whole, self.arrays([]), cotangents)
        return sorted(found)


def _pull(
    fn: Flat, primals: list[Array], cotangents_of: Callable[[list[Array]], list[Array]]
) -> tuple[list[Array], list[Array]]:
    cut = _Cut(fn, primals, "vjp")
    cotangents = [_anchored(g) for g in cotangents_of(cut.out)]
    reached = cut.reached(cotangents)
    grads: dict[Any, Array] = {}  # by the number of a primal, or by place

    def pull(last: int | None, cotangents: list[Array]) -> None:
        places = cut.places([i for i in reached if last is None or i < last])
        piece = cut.piece(last, places)
        found = mx.vjp(piece, cut.arrays(places), cotangents)[1]
        keys = [*range(len(primals)), *places]
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


def _push(
    fn: Flat, primals: list[Array], tangents: list[Array]
) -> tuple[list[Array], list[Array]]:
    cut = _Cut(fn, primals, "jvp")
    tangents = [_anchored(x) for x in tangents]
    moved: dict[Place, Array] = {}

    def push(last: int | None) -> list[Array]:
        places = list(moved)
        piece = cut.piece(last, places)
        return mx.jvp(piece, cut.arrays(places), [*tangents, *moved.values()])[1]

    for number, (function, args, _) in enumerate(cut.calls):
        found = push(number)
        directions = iter(zip(found, _are_zero(found), strict=True))
        given: list[Array | None] = []
        for x in args:
            direction, zero = next(directions) if _is_inexact(x) else (None, True)
            given.append(None if zero else direction)
        if all(x is None for x in given):
            continue
        results = function.rules["jvp"](unpacked(args), unpacked(given))
        for i, y in enumerate(as_tuple(results)):
            if _is_inexact(y):
                moved[number, i] = y
    return cut.out, push(None)


def _anchored(x: Array) -> Array:
    """`x`, but dependent on an argument of the exported function."""
    argument = anchor.get()
    known = mx.any(argument[(slice(0, 1),) * argument.ndim])
    return mx.where(known, x, x)


def _are_zero(arrays: list[Array]) -> list[bool]:
    """Which arrays are what MLX returns where it finds no derivative.

    Any other is linear in what was anchored, and has no value in a trace. Most are
    zero, and to evaluate them at once takes as long as to evaluate one.
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


# ---- what MLX gives rules, and takes from them ----


# Where there is one argument, or one result, it is an array instead of a sequence.
def as_list(arrays: Any) -> list[Any]:
    return list(arrays) if isinstance(arrays, list | tuple) else [arrays]


def as_tuple(arrays: Any) -> tuple[Any, ...]:
    return tuple(as_list(arrays))


def unpacked(args: Sequence[Any]) -> Any:
    """What MLX gives a rule: the argument where there is one, else a sequence."""
    return tuple(args) if len(args) > 1 else args[0]


def like(arrays: Sequence[Any], example: Any) -> Any:
    """Results in the form of others: an array, or a sequence of them."""
    return tuple(arrays) if isinstance(example, list | tuple) else arrays[0]


def directions(primals: Any, tangents: Any) -> list[Array]:
    """The tangents, with zeros for arguments that are constant: MLX gives `None`."""
    pairs = zip(as_list(primals), as_list(tangents), strict=True)
    return [mx.zeros_like(x) if dx is None else dx for x, dx in pairs]


def floats(arrays: list[Array]) -> list[int]:
    """The places of those that have derivatives."""
    return [i for i, x in enumerate(arrays) if _is_inexact(x)]


def at(arrays: Sequence[Any], places: list[int]) -> list[Any]:
    return [arrays[i] for i in places]


def filled(
    arrays: list[Array], places: list[int], values: Sequence[Array]
) -> list[Array]:
    """The arrays, with other ones at these places."""
    changed = list(arrays)
    for place, value in zip(places, values, strict=True):
        changed[place] = value
    return changed
