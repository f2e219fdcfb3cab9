"""Which transformation is running, and whether arrays may be evaluated.

MLX marks the arrays that stand for the values a transformation will supply, and keeps
their graph when they are evaluated. But a derivative inside another one clears the
outer's marks from everything that it reads. An evaluation after that cuts the graph,
and the outer gradient is silently 0. So whether an array is marked is found out without
an evaluation, and inside derivatives none is started.

A lazy array belongs to the thread that made it: its graph names that thread's streams,
and MLX computes it nowhere else. Once its evaluation has started, every thread may use
it. So what the library hands out to be kept (keys, draws, initial parameters and
states, results of compiled functions) is started at once.
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

# Set inside the block of `transforming` only, and seen by its own thread only.
# It has a letter for each transformation: r for reverse derivatives, x for others.
_inside: ContextVar[str] = ContextVar("inside", default="")

# How many calls of what `mapped` returns the thread is in.
_maps: ContextVar[int] = ContextVar("maps", default=0)

# Unset inside the block of `lazily` only.
_may_start: ContextVar[bool] = ContextVar("may_start", default=True)


@dataclass
class Order:
    """The collectives of one transformation, which run in the order of the program.

    Each depends on the one before. Without that, two processes that evaluate their
    results in different orders would add one's first array to the other's second.
    """

    last: Array | None = None  # depends on the latest collective
    signatures: list[str] = field(default_factory=list)  # of all, where `jit` traces
    agree: Callable[[str, list[str]], None] | None = None  # compares them over ranks


# Set inside of transformations only, and seen by its own thread only.
_order: ContextVar[Order | None] = ContextVar("order", default=None)


def order() -> Order | None:
    """The collectives of the transformation under way; `None` outside of any."""
    return _order.get()


@contextmanager
def ordering(*, anew: bool = False) -> Iterator[Order]:
    """Inside the block, collectives belong to the order that the block is given.

    Args:
        anew: whether it is one of its own inside another transformation too. `vmap`
            needs that: what it traces has no values outside.
    """
    around = _order.get()
    if around is not None and not anew:
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
    """Inside the block, no evaluation may be started.

    Collectives start at its end: else that of the result which is evaluated first would
    run first, which need not be the same one in all processes.
    """
    outermost = _order.get() is None
    kind = "r" if reverse else "x"
    with ordering() as own, holding(_inside, _inside.get() + kind):
        yield
    if outermost and own.last is not None:
        start(own.last)


class Repetition:
    """One trace of a function that stands for many calls, such as turns of a loop."""

    def __init__(self, caller: str) -> None:
        self.caller = caller


_repetition: ContextVar[Repetition | None] = ContextVar("repetition", default=None)


def repetition() -> Repetition | None:
    """The innermost repetition that is traced; `None` outside of all."""
    return _repetition.get()


def repeating(caller: str) -> AbstractContextManager[Any]:
    """Inside the block, a function is traced that `caller` runs many times."""
    return holding(_repetition, Repetition(caller))


def as_called_once() -> AbstractContextManager[Any]:
    """Inside the block, which is traced in a loop, numbers are those outside of it.

    A few operations have formulations for loops, of which the last bits are others.
    """
    return holding(_repetition, None)


def is_transforming() -> bool:
    """Whether a transformation of this library other than `jit` runs a function."""
    return bool(_inside.get())


# How deep in transformations a rule is passed over, and no deeper.
_passed: ContextVar[int | None] = ContextVar("passed", default=None)


def passing_rules(passes: bool = True) -> AbstractContextManager[Any]:
    """Inside the block, `custom_vjp` and `custom_jvp` leave derivatives to MLX.

    A rule holds for the innermost derivative, and the block is differentiated by one
    further out. In derivatives within the block rules hold again, and with `False` in
    the block itself: those of what a rule calls.
    """
    return holding(_passed, len(_inside.get()) if passes else None)


def are_rules_passed() -> bool:
    """Whether derivatives of what is called here are left to MLX."""
    return _passed.get() == len(_inside.get())


def is_differentiated_once() -> bool:
    """Whether one reverse derivative is all that runs a function."""
    return _inside.get() == "r"


def lazily() -> AbstractContextManager[Any]:
    """Inside the block, which traces a function, `start` starts nothing.

    Not even arrays that depend on no argument: the trace would keep their values.
    """
    return holding(_may_start, False)


_postponed: ContextVar[bool] = ContextVar("postponed", default=False)


def postponing() -> AbstractContextManager[Any]:
    """Inside the block, which traces nothing, `start` starts nothing either.

    Compiled functions run compiled, and what they return is started by the caller.
    """
    return holding(_postponed, True)


def mapped(fn: Callable[..., T], in_axes: Any = 0) -> Callable[..., T]:
    """`mx.vmap`, inside of which `is_mapping` holds."""
    vectorised: Any = mx.vmap(fn, in_axes=in_axes)

    def run(*args: Any) -> T:
        with _mapping(1):
            return vectorised(*args)  # type: ignore[no-any-return]  # what fn returns

    return run


def _mapping(change: int) -> AbstractContextManager[Any]:
    return holding(_maps, max(_maps.get() + change, 0))


def replacing() -> AbstractContextManager[None]:
    """Inside the block, which is in a rule for `vmap`, arrays are those outside of it.

    MLX calls the rules after it has traced the function, with the batch.
    """
    return _mapping(-1)


def is_mapping() -> bool:
    """Whether `vmap` traces a function, which may then hold no compiled one."""
    return _maps.get() > 0


def is_tracing() -> bool:
    """Whether a function is being traced in order to be compiled."""
    return not _may_start.get()


def may_start() -> bool:
    """Whether evaluation may be started: no trace and no derivative is running."""
    return not is_tracing() and not is_transforming()


def followed(arrays: list[Array]) -> list[Array]:
    """The arrays as results, which a surrounding derivative does not lose track of.

    It marks a copy of each of its arrays. A derivative inside of it clears the marks of
    all that it reads, and the next one would take a copy without a mark for one that
    is left over, and differentiate what it was copied from, which the outer derivative
    knows nothing of. What comes from another operation it takes as it is.
    """
    if not is_transforming():
        return arrays
    return [mx.squeeze(mx.expand_dims(x, 0), 0) for x in arrays]


class UnavailableError(RuntimeError):
    """An array can never be computed here: why, and what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"an array {reason}")
        self.reason = reason


def start(*values: object) -> bool:
    """Starts computing the arrays in trees; says whether it did.

    It does not inside a transformation, whose arrays have no values yet.

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
        if reason := unavailable(error):
            raise UnavailableError(reason) from error
        raise
    return True


def started(values: T) -> T:
    """A tree whose arrays are being computed, unless a transformation is under way."""
    start(values)
    return values


def is_symbolic(error: Exception) -> bool:
    """Whether MLX refused to evaluate an array inside a transformation."""
    words = str(error)
    return (
        "during function transformations" in words
        or "inside a graph transformation" in words
    )


def unavailable(error: Exception) -> str | None:
    """Why an array can never be computed here, and what to do, if MLX says so."""
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
    """Whether one of the arrays is a placeholder of a transformation.

    MLX says so when it refuses to evaluate what depends on them. If none is, it comes
    upon the placeholder first, and gives up before it looks at the arrays.
    """
    if not arrays:
        return False
    probe = mx.depends([_placeholder()], arrays)
    try:
        mx.async_eval(probe)  # type: ignore[no-untyped-call]  # untyped in MLX's stubs
    except ValueError:  # not allowed inside a transformation
        return True
    except RuntimeError:  # an array without a primitive
        pass
    return False


@functools.cache
def _placeholder() -> Array:
    """An array without values, such as a function sees while `vmap` runs it."""
    seen: list[Array] = []

    def keep(x: Array) -> Array:
        seen.append(x)
        return x

    mx.vmap(keep)(mx.zeros(1))
    return seen[0]
