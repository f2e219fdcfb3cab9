"""Which arrays stand for values that a transformation will give.

MLX marks them, and keeps their graph when they are evaluated. But a derivative inside
of another one takes the marks of the outer from all that it reads. An evaluation after
it cuts the graph, and the outer gradient is silently 0. So whether an array is marked
is found out without an evaluation, and inside of derivatives none is started.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import mlx.core as mx

from lucid_fn.types import Array

# Set inside the block of `transforming` only, and seen by its own thread only.
_inside: ContextVar[bool] = ContextVar("inside", default=False)


@contextmanager
def transforming() -> Iterator[None]:
    """Inside the block, no evaluation may be started."""
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)


def is_transforming() -> bool:
    """Whether a transformation of this library other than `jit` runs a function."""
    return _inside.get()


def any_traced(arrays: list[Array]) -> bool:
    """Whether one of the arrays is marked.

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
