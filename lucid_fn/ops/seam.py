"""Where the CPU wing, `lucid_fn.cpu`, plugs in.

`lucid_fn.ops` holds the contract of every operation and its plain MLX formulation,
which GPUs run. On CPUs, where MLX's kernels are loops on one thread, the wing adds
two things: faster formulations of some operations, and the division of large batches
among the cores. Both are reached through this file alone; without the wing, and inside
of `plain`, its functions do nothing.
"""

import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache, partial, wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast
from weakref import ref

import mlx.core as mx

from lucid_fn.call_errors import explains_calls
from lucid_fn.context import holding

if TYPE_CHECKING:
    from types import ModuleType

    from lucid_fn.types import Array

P = ParamSpec("P")
T = TypeVar("T")
Fn = TypeVar("Fn", bound=Callable[..., Any])

_VARIABLE = "LUCID_FN_OPS"
_plain: ContextVar[bool] = ContextVar("plain", default=False)


def plain() -> AbstractContextManager[Any]:
    """Runs the plain MLX formulation of every operation called inside the block.

    Use it to compare results, or to find out whether a CPU formulation is to blame. The
    environment variable `LUCID_FN_OPS=plain` does the same for the whole process.

    The choice is made when an operation is *called*, which in a compiled function is
    when it is traced. The block has no effect on a function that was compiled before:
    compile it inside the block.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x, weight = mx.ones((1, 4, 4, 1)), mx.ones((1, 3, 3, 1))
        >>> with ops.plain():
        ...     y = ops.conv2d(x, weight)
        >>> y.squeeze().tolist()
        [[9.0, 9.0], [9.0, 9.0]]
    """
    return holding(_plain, True)


def tuned() -> bool:
    """Whether the wing is in use: on a CPU, and not inside of `plain`."""
    if _plain.get() or _plain_everywhere() or mx.default_device() != mx.cpu:
        return False
    return _wing() is not None


def _plain_everywhere() -> bool:
    setting = os.environ.get(_VARIABLE, "")
    if setting not in ("", "plain", "tuned"):
        raise ValueError(
            f"ops: {_VARIABLE} must be 'plain' or 'tuned', got {setting!r}; "
            "unset it for the tuned formulations"
        )
    return setting == "plain"


@cache
def _wing() -> "ModuleType | None":
    """The wing, imported at its first use; `None` where the folder was left out."""
    return _module("lucid_fn.cpu.wing")


def _module(name: str) -> "ModuleType | None":
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name in (name, "lucid_fn.cpu"):
            return None
        raise  # a broken import inside of the wing, not a missing wing


def start() -> None:
    """Gives MLX a fast BLAS and a tuned allocator on CPUs."""
    runtime = _module("lucid_fn.cpu.runtime")
    if runtime is not None:
        runtime.start()


# ---- other formulations ----


def replaceable(plain: Callable[P, T]) -> Callable[P, T]:
    """Decorates the plain formulation of an operation that the wing may replace.

    The wing's table, `lucid_fn.cpu.wing.FORMULATIONS`, maps the decorated function to
    one with the same arguments and results.
    """

    @wraps(plain)
    def run(*args: P.args, **options: P.kwargs) -> T:
        return formulation(run, plain)(*args, **options)

    return run


def formulation(operation: Callable[..., Any], plain: Fn) -> Fn:
    """The formulation of an operation in use: that in the wing's table, or `plain`."""
    wing = _wing() if tuned() else None
    return plain if wing is None else cast(Fn, wing.FORMULATIONS.get(operation, plain))


# ---- batches divided among the cores ----

# The part of a divided batch that this thread is computing.
_part: ContextVar[int | None] = ContextVar("part", default=None)


def current_part() -> int | None:
    """The number of the part that is being computed; `None` outside of parts."""
    return _part.get()


@contextmanager
def computing_part(part: int) -> Iterator[None]:
    """Inside the block, operations belong to this part and run on its stream."""
    with holding(_part, part), mx.stream(_stream(part)) if part else nullcontext():
        yield


@cache
def _stream(part: int) -> Any:
    # Thread-local, since a stream can be used only by the thread that made it.
    return mx.new_thread_local_stream(mx.cpu)


def examplewise(fn: Fn) -> Fn:
    """Decorates `fn(x, ...)`, which treats the entries of axis 0 of `x` independently.

    It then accepts a divided batch too, and computes each part on a core of its own.
    Errors are those of the whole batch.
    """
    fn = explains_calls(fn)

    @wraps(fn)
    def divided(*args: Any, **options: Any) -> Any:
        if not args or isinstance(args[0], mx.array):
            return fn(*args, **options)
        x, *others = args
        return map_examples(lambda x: fn(x, *others, **options), x)

    return accepts_divided(cast(Fn, divided))


def pointwise(fn: Fn) -> Fn:
    """Decorates `fn(x, ...)`, which treats the elements of `x` independently."""

    @wraps(fn)
    def each(*args: Any, **options: Any) -> Any:
        if current_part() and args and isinstance(args[0], mx.array):
            x, *others = args
            wing = cast(Any, _wing())
            return wing.distinct_shape_per_part(lambda x: fn(x, *others, **options))(x)
        return fn(*args, **options)

    return examplewise(cast(Fn, each))


def accepts_divided(fn: Fn) -> Fn:
    """Marks `fn(x, ...)` as accepting a divided batch in place of an array.

    The mark refers to the function itself, so that a wrapper to which it was copied, as
    `functools.wraps` does, is not marked.
    """
    fn.__divided__ = ref(fn)  # type: ignore[attr-defined]  # read by `takes_divided`
    return fn


def takes_divided(fn: Any) -> bool:
    """Whether `fn` may be called with a divided batch."""
    if isinstance(fn, partial):
        return not fn.args and takes_divided(fn.func)
    mark = getattr(fn, "__divided__", None)
    return mark is not None and mark() is fn


def marked_like(fn: Fn, other: Any) -> Fn:
    """`fn`, marked as accepting divided batches if `other` is."""
    return accepts_divided(fn) if takes_divided(other) else fn


def divide(x: Any) -> Any:
    """`x` as a divided batch where that is faster; anything else unchanged."""
    wing = _wing() if tuned() else None
    return x if wing is None else wing.divide(x)


def join(x: Any) -> Any:
    """Joins a divided batch, or those in a named tuple; anything else unchanged."""
    if isinstance(x, mx.array) or (wing := _wing()) is None:
        return x
    return wing.join(x)


def is_divided(x: Any) -> bool:
    """Whether `x` is a divided batch, or a named tuple with one."""
    return not isinstance(x, mx.array) and join(x) is not x


def map_examples(fn: Callable[..., Any], x: Any, *others: Any) -> Any:
    """`fn(x, *others)`, part by part where `x` is a divided batch.

    Each of the others is `None`, or an array or a divided batch of as many examples.
    The result is an array or a tuple of arrays, divided if `x` is.
    """
    wing = _wing()
    return fn(x, *others) if wing is None else wing.map_examples(fn, x, *others)


def chunks_of_sequence(
    length: int, layers: int, directions: int, multiplications: int
) -> list[int] | None:
    """Lengths of the chunks in which a sequence passes through recurrent layers.

    Args:
        length: number of steps of the sequence.
        layers: number of layers.
        directions: 1, or 2 if the layers are bidirectional.
        multiplications: number of them in a step of one layer in one direction.

    Returns:
        `None` to compute one layer after the other. Otherwise the directions of each
        layer, or else the layers, run in parallel, each in a block of
        `computing_branch`: a layer computes the next chunk while the layer above it
        computes the one before.
    """
    wing = _wing() if tuned() and current_part() is None else None
    chunks: list[int] | None = None
    if wing is not None:
        chunks = wing.chunks_of_sequence(length, layers, directions, multiplications)
    return chunks


def computing_branch(number: int) -> AbstractContextManager[None]:
    """`computing_part` for one of the layers or directions that run in parallel."""
    return computing_part(cast(Any, _wing()).core_of(number))


def parts_of_leaves(sizes: list[int]) -> list[int]:
    """The part that computes each leaf of a tree, chosen by their sizes."""
    wing = _wing() if tuned() and current_part() is None else None
    return [0] * len(sizes) if wing is None else wing.parts_of_leaves(sizes)


def prepare_compiler() -> None:
    """Makes MLX compile its CPU kernels faster, if called before the first one."""
    wing = _wing() if mx.default_device() == mx.cpu else None
    if wing is not None:
        wing.precompile()


# ---- the order of gradients ----

_differentiated: ContextVar[frozenset[int]] = ContextVar(
    "differentiated", default=frozenset()
)


def differentiating(arrays: "Iterable[Array]") -> AbstractContextManager[Any]:
    """Inside the block, gradients with respect to these arrays are computed."""
    ids = frozenset(map(id, arrays))
    return holding(_differentiated, _differentiated.get() | ids)


def is_differentiated(x: "Array") -> bool:
    """Whether a gradient with respect to `x` is certainly computed."""
    return id(x) in _differentiated.get()
