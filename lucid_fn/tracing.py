"""Which transformations are running, and whether arrays may be evaluated.

MLX marks the arrays that are placeholders of a transformation as tracers, and keeps
their graph when they are evaluated. But a derivative inside another one clears the
outer one's marks from all arrays that it reads. An evaluation after that detaches them
from the graph, and the outer gradient is silently 0. So the library finds out without
an evaluation whether an array is a tracer, and starts none inside derivatives.

A lazy array belongs to the thread that made it: its graph names the streams of that
thread, and MLX can compute it in no other. Once its evaluation has started, every
thread may use it. So the evaluation of arrays that users keep (keys, draws, initial
parameters and states, results of compiled functions) is started at once.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

import mlx.core as mx

from lucid_fn.context import holding
from lucid_fn.types import Array

T = TypeVar("T")

# The transformations around, outermost first: r for a reverse derivative, x for others.
_transformations: ContextVar[str] = ContextVar("transformations", default="")

# The number of calls of `mapped` functions around.
_maps: ContextVar[int] = ContextVar("maps", default=0)

# False inside the blocks of `lazily`.
_may_start: ContextVar[bool] = ContextVar("may_start", default=True)


@dataclass
class Order:
    """The order of the collectives in a transformation: that of the program.

    Each depends on the one before. Otherwise, ranks that evaluate their results in
    different orders would pair different collectives.
    """

    last: Array | None = None  # depends on the latest collective
    signatures: list[str] = field(default_factory=list)  # of all, where `jit` traces
    agree: Callable[[str, list[str]], None] | None = None  # compares them across ranks


_order: ContextVar[Order | None] = ContextVar("order", default=None)


def order() -> Order | None:
    """The order of the collectives at this point; `None` outside of transformations."""
    return _order.get()


@contextmanager
def ordering(*, new: bool = False) -> Iterator[Order]:
    """Inside the block, collectives are ordered by the `Order` that it yields.

    Args:
        new: whether to begin an order of its own inside another transformation too, as
            `vmap` must, whose tracers have no values outside of it.
    """
    around = _order.get()
    if around is not None and not new:
        yield around
        return
    own = Order() if around is None else Order(signatures=around.signatures)
    try:
        with holding(_order, own):
            yield own
    finally:
        if around is not None:
            around.agree = own.agree or around.agree


@contextmanager
def transforming(*, reverse: bool = False) -> Iterator[None]:
    """Run the block as part of a transformation: it starts no evaluation.

    The collectives of the outermost block start together at its end. Otherwise, the
    result that is evaluated first would decide which one runs first, and ranks may
    evaluate theirs in different orders.
    """
    outermost = _order.get() is None
    kinds = _transformations.get() + ("r" if reverse else "x")
    with ordering() as own, holding(_transformations, kinds):
        yield
    if outermost and own.last is not None:
        start(own.last)


class Repetition:
    """One trace of a function for many calls, such as the iterations of a loop."""

    def __init__(self, caller: str) -> None:
        self.caller = caller


_repetition: ContextVar[Repetition | None] = ContextVar("repetition", default=None)


def repetition() -> Repetition | None:
    """The innermost repetition that is being traced; `None` outside of all."""
    return _repetition.get()


def repeating(caller: str) -> AbstractContextManager[Any]:
    """Inside the block, a function is traced that `caller` runs many times."""
    return holding(_repetition, Repetition(caller))


def as_outside_loops() -> AbstractContextManager[Any]:
    """Inside the block, which a loop traces, results are those outside of loops.

    A few operations have formulations for loops that differ in the last bits.
    """
    return holding(_repetition, None)


def is_transforming() -> bool:
    """Whether a transformation other than `jit` is running a function."""
    return bool(_transformations.get())


# The depth in transformations at which rules are bypassed; they hold deeper inside.
_bypassed_at: ContextVar[int | None] = ContextVar("bypassed_at", default=None)


def bypassing_rules(bypassed: bool = True) -> AbstractContextManager[Any]:
    """Inside the block, MLX differentiates functions of `custom_vjp` and `custom_jvp`.

    A rule applies to the innermost derivative only, and the block is differentiated by
    an outer one. Rules apply again in derivatives within the block; with `False`, they
    apply in the block itself, for the functions that a rule calls.
    """
    return holding(_bypassed_at, len(_transformations.get()) if bypassed else None)


def are_rules_bypassed() -> bool:
    """Whether MLX itself differentiates the functions that are called here."""
    return _bypassed_at.get() == len(_transformations.get())


def is_differentiated_once() -> bool:
    """Whether the only transformation around is one reverse derivative."""
    return _transformations.get() == "r"


def lazily() -> AbstractContextManager[Any]:
    """Inside the block, in which a function is traced, `start` does nothing.

    That includes arrays that do not depend on arguments: evaluated, they would become
    constants of the trace.
    """
    return holding(_may_start, False)


_postponed: ContextVar[bool] = ContextVar("postponed", default=False)


def postponing() -> AbstractContextManager[Any]:
    """Inside the block, in which nothing is traced, `start` does nothing either.

    Compiled functions still run compiled; the caller starts their results.
    """
    return holding(_postponed, True)


def mapped(fn: Callable[..., T], in_axes: Any = 0) -> Callable[..., T]:
    """`mx.vmap(fn)`, inside of which `is_mapping` is true."""
    vectorized: Any = mx.vmap(fn, in_axes=in_axes)

    def run(*args: Any) -> T:
        with _mapping(1):
            return vectorized(*args)  # type: ignore[no-any-return]  # what fn returns

    return run


def _mapping(change: int) -> AbstractContextManager[Any]:
    return holding(_maps, max(_maps.get() + change, 0))


def in_vmap_rule() -> AbstractContextManager[None]:
    """Inside the block, which is in a rule for `vmap`, the innermost `vmap` is over.

    MLX calls the rules after it has traced the function, with batched arrays.
    """
    return _mapping(-1)


def is_mapping() -> bool:
    """Whether `vmap` is tracing a function, which may not call a compiled one then."""
    return _maps.get() > 0


def is_tracing() -> bool:
    """Whether a function is being traced in order to be compiled."""
    return not _may_start.get()


def may_start() -> bool:
    """Whether an evaluation may be started: nothing is being traced or transformed."""
    return not is_tracing() and not is_transforming()


def tracked(arrays: list[Array]) -> list[Array]:
    """The arrays, such that a surrounding derivative keeps track of them.

    A derivative copies its inputs and marks the copies as tracers. A derivative inside
    of it clears the marks, and the next one would mistake the unmarked copies for
    leftovers and differentiate their originals, of which the outer derivative knows
    nothing. The result of an operation, here one without an effect, is taken as it is.
    """
    if not is_transforming():
        return arrays
    return [mx.squeeze(mx.expand_dims(x, 0), 0) for x in arrays]


class UnavailableError(RuntimeError):
    """An array can never be computed here; `reason` says why, and what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"an array {reason}")
        self.reason = reason


def start(*values: object) -> bool:
    """Start computing the arrays in trees; return whether that was possible.

    It is not inside a transformation, where arrays have no values yet.

    Raises:
        UnavailableError: if an array can never be computed here.
    """
    if _postponed.get() or not may_start():
        return False
    try:
        mx.async_eval(*values)  # type: ignore[no-untyped-call]  # untyped in MLX's stubs
    except (ValueError, RuntimeError) as error:
        if is_symbolic(error):
            return False
        if reason := unavailable_reason(error):
            raise UnavailableError(reason) from error
        raise
    return True


def started(values: T) -> T:
    """The tree, once `start` has been called on it."""
    start(values)
    return values


def is_symbolic(error: Exception) -> bool:
    """Whether the error is MLX's refusal to evaluate an array in a transformation."""
    words = str(error)
    return (
        "during function transformations" in words
        or "inside a graph transformation" in words
    )


def unavailable_reason(error: Exception) -> str | None:
    """Why an array can never be computed here, and what to do, if the error says so."""
    if isinstance(error, UnavailableError):
        return error.reason
    words = str(error)
    if "without a primitive" in words or "only be called on evaled arrays" in words:
        return (
            "was kept from inside a function while a transformation traced it, when "
            "it had no value; return it from that function instead of storing it"
        )
    if "There is no Stream" in words:
        return (
            "was made in another thread and not computed there, and MLX computes an "
            "array only in the thread that made it; call mx.eval on it in that thread"
        )
    return None


def any_traced(arrays: list[Array]) -> bool:
    """Whether one of the arrays is a tracer of a transformation.

    MLX refuses to evaluate what depends on a tracer. The probe depends on the arrays,
    and on an array without values: if none of the arrays is a tracer, MLX fails there
    before it computes any of them.
    """
    if not arrays:
        return False
    probe = mx.depends([_without_values()], arrays)
    try:
        mx.async_eval(probe)  # type: ignore[no-untyped-call]  # untyped in MLX's stubs
    except ValueError:  # not allowed inside a transformation
        return True
    except RuntimeError:  # an array without a primitive
        pass
    return False


@functools.cache
def _without_values() -> Array:
    """An array without values, such as `vmap` passes to a function."""
    seen: list[Array] = []

    def keep(x: Array) -> Array:
        seen.append(x)
        return x

    mx.vmap(keep)(mx.zeros(1))
    return seen[0]
