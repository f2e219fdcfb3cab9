"""Calls of compiled functions inside other transformations, by a helper thread.

`mx.compile` runs a function in Python, operation by operation, if an argument belongs
to a transformation around the call: a loop inside `grad` would run its body at every
iteration. MLX's transformations are those of the current thread. So such calls are made
in another thread, where the same arrays are ordinary ones. The results are lazy, on the
stream of the calling thread.
"""

import contextvars
import queue
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import mlx.core as mx

from lucid_fn.ops.seam import computing_part

T = TypeVar("T")

# Set in calls that a helper makes.
_asking: contextvars.ContextVar[threading.Thread | None] = contextvars.ContextVar(
    "asking", default=None
)


def asking_thread() -> threading.Thread:
    """The thread that computes the results of this one: helpers only build graphs."""
    return _asking.get() or threading.current_thread()


class _Helper:
    """A thread that runs calls, and has its own cache of MLX's compiled functions.

    It is a daemon that still waits when the program ends. A thread that ends while
    Python shuts down, as those of `concurrent.futures` do, frees MLX's compiled
    functions without an interpreter, which aborts the process.
    """

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(
            target=_serve, args=(self._calls,), name="lucid_fn", daemon=True
        ).start()

    def run(self, fn: Callable[[], T]) -> T:
        """Returns `fn()`, or raises its error."""
        results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._calls.put((fn, results))
        value, error = results.get()
        if error is not None:
            try:
                raise error
            finally:
                del error  # whose traceback holds this frame
        out: T = value
        return out

    def __del__(self) -> None:
        if not sys.is_finalizing():  # the thread that it belonged to has ended
            self._calls.put(None)


def _serve(calls: "queue.SimpleQueue[Any]") -> None:
    while (call := calls.get()) is not None:
        fn, results = call
        try:
            results.put((fn(), None))
        except BaseException as error:  # for the thread that asked
            results.put((None, error))
        del call, fn, results  # they would live until the next call


class _Helpers(threading.local):
    """The one helper of each thread."""

    helper: _Helper | None = None


_helpers = _Helpers()


def untraced(fn: Callable[..., T], *args: Any) -> T:
    """`fn(*args)`, run where no array belongs to a transformation.

    All operations are on one stream, that of the caller.
    """
    stream = mx.default_stream(mx.default_device())
    context = contextvars.copy_context()
    context.run(_asking.set, asking_thread())

    def run() -> T:
        with mx.stream(stream), computing_part(0):
            return fn(*args)

    if _helpers.helper is None:
        _helpers.helper = _Helper()
    return _helpers.helper.run(lambda: context.run(run))
