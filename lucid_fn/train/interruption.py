"""Ctrl-C and SIGTERM between two steps of a run, never within one."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lucid_fn.distributed import Group
from lucid_fn.distributed.agreement import should_stop


@contextmanager
def deferred_signals(
    group: Group | None = None, *, sigterm: bool = False
) -> Iterator[Callable[[], bool]]:
    """Defer Ctrl-C, and SIGTERM with `sigterm=True`, inside the block.

    Python raises `KeyboardInterrupt` between any two of its instructions, such as the
    end of a step and the assignment of its result, where it would leave the state and
    the record in disagreement. So the first signal is only noted, and the program asks
    for it between steps. A second one raises `KeyboardInterrupt` at once, in case the
    program hangs. The previous handlers are restored at the end.

    A handler that the program has set itself stays in place. Threads other than the
    main one get no signals, and nothing changes there.

    Args:
        group: processes that stop after the same step, a few after the signal.
        sigterm: whether to defer SIGTERM too, which ends the process otherwise.

    Yields:
        A function, to be called between two steps, that says whether to stop there.
    """
    asked, process = False, os.getpid()

    def note(number: int, _: Any) -> None:
        nonlocal asked
        if os.getpid() != process:  # a fork, such as a worker, which nobody can ask
            signal.signal(number, replaced[number])
            signal.raise_signal(number)
        elif asked:
            raise KeyboardInterrupt
        asked = True

    defaults: dict[int, Any] = {signal.SIGINT: signal.default_int_handler}
    if sigterm:
        defaults[signal.SIGTERM] = signal.SIG_DFL
    if threading.current_thread() is not threading.main_thread():
        defaults = {}
    replaced = {n: h for n, h in defaults.items() if signal.getsignal(n) == h}
    try:
        for number in replaced:
            signal.signal(number, note)
        yield lambda: should_stop(group, asked=asked)
    finally:
        for number, handler in replaced.items():
            if signal.getsignal(number) is note:  # else the program has set another one
                signal.signal(number, handler)
