"""Ctrl-C between two steps of a run, never within one."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lucid_fn.distributed import Group
from lucid_fn.distributed.agreement import stops_here


@contextmanager
def deferred(group: Group | None = None) -> Iterator[Callable[[], None]]:
    """Defer Ctrl-C to the next call of the function that the block is given.

    That call raises `KeyboardInterrupt`; in a group, one a few steps later does, the
    same on all ranks. A second Ctrl-C raises it at once, in case the program hangs.

    Python raises `KeyboardInterrupt` between any two of its instructions, such as the
    end of a step and the assignment of its result, where it would leave the state and
    the record in disagreement. A handler of SIGINT that the program has set stays in
    place. Threads other than the main one get no signals, and nothing changes there.
    """
    asked = False

    def note(*_: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    def stop_here() -> None:
        if stops_here(group, asked=asked):
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
