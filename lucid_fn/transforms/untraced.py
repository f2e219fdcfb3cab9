"""Calls of compiled functions inside other transformations.

`mx.compile` runs a function in Python, operation by operation, when an array that it
is given belongs to a transformation around: a loop inside `grad` would run its body at
every turn. MLX keeps what it transforms apart by thread. So such calls are made in
another thread, where the same arrays are like any others; the results are lazy, and
name the stream of the thread that asked.
"""

import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import mlx.core as mx

from lucid_fn.ops.seam import computing_part

T = TypeVar("T")


class _Helper(threading.local):
    """The one other thread of each thread, in which compiled functions stay known."""

    pool: Any = None


_helper = _Helper()


def _pool() -> Any:
    if _helper.pool is None:
        # Loaded at the first use: it brings `logging` along.
        from concurrent.futures import ThreadPoolExecutor

        _helper.pool = ThreadPoolExecutor(1, thread_name_prefix="lucid_fn")
    return _helper.pool


def untraced(fn: Callable[..., T], *args: Any) -> T:
    """`fn(*args)`, run where no array belongs to a transformation.

    Everything it builds runs on one stream, that of the caller.
    """
    stream = mx.default_stream(mx.default_device())
    context = contextvars.copy_context()

    def run() -> T:
        with mx.stream(stream), computing_part(0):
            return fn(*args)

    out: T = _pool().submit(context.run, run).result()
    return out
