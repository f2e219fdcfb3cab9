"""Ctrl-C between two steps of a run, never within one."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def deferred() -> Iterator[Callable[[], None]]:
    """Inside the block Ctrl-C waits for the next call of what the block is given.

    That call raises `KeyboardInterrupt`. A second Ctrl-C raises it at once, in case the
    program hangs.

    Python raises it between any two of its instructions: between the end of a step and
    the assignment of its result, say, so that what is kept lacks the one or the other.
    A program's own handler of SIGINT stays in place, and so does everything outside of
    the main thread, which gets no signals.
    """
    asked = False

    def note(*_: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    def stop_here() -> None:
        if asked:
            raise KeyboardInterrupt

    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield stop_here
        return
    signal.signal(signal.SIGINT, note)
    try:
        yield stop_here
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
