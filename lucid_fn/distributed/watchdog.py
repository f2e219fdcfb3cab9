"""The watchdog of a group, which detects processes that are killed or stalled.

MLX's collectives wait for ever for a process that has ended, and ignore Ctrl-C. So each
process has a thread with a TCP connection to rank 0, and sends its status twice a
second. Rank 0 detects failures (see `hub`) and sends them to all processes, which print
them and exit. The other processes watch rank 0. MLX releases the GIL while it waits, so
that the threads keep running.

The same connection carries the names, shapes and dtypes that processes compare before
they run a collective (`exchange`).
"""

import atexit
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any

from lucid_fn.distributed.connection import Channel, Message, connect, listen
from lucid_fn.distributed.hub import (
    EXIT_GRACE,
    PERIOD,
    RESUME,
    Hub,
    Member,
    end_process,
    silence_message,
)

LIFELINE_VARIABLE = "LUCID_FN_LIFELINE"  # a pipe that closes with the launcher
UNCONNECTED = 69  # exit code of a process whose backend did not connect: EX_UNAVAILABLE

_STEPS_AHEAD = 4  # steps that a process may run before it must know where all stop


def start(
    rank: int, size: int, host: str, port: int, token: int, *, timeout: float
) -> "Watchdog":
    """Connects this process to rank 0; returns once all processes are connected.

    Raises:
        RuntimeError: if rank 0 cannot be reached in time.
    """
    if rank == 0:
        ours, hubs = socket.socketpair()
        server = listen(host, port)
        hub = Hub(size, timeout, server, hubs, token)
        threading.Thread(target=hub.run, name="lucid_fn hub", daemon=True).start()
    else:
        ours = connect(host, port, timeout)
    watchdog = Watchdog(rank, ours, timeout)
    where = f"process {os.getpid()} on {socket.gethostname()}"
    watchdog.send({"hello": rank, "token": token, "where": where})
    threading.Thread(target=watchdog.run, name="lucid_fn watchdog", daemon=True).start()
    with watchdog.waiting("distributed.init"):
        watchdog.exchange("distributed.init", rank)
    atexit.register(watchdog.leave)
    return watchdog


class Watchdog:
    """This process's end of the control connection, and its status."""

    def __init__(self, rank: int, connection: socket.socket, timeout: float) -> None:
        self.rank = rank
        self.timeout = timeout
        self._channel = Channel(connection)
        self._answers: SimpleQueue[tuple[list[str], list[Any]]] = SimpleQueue()
        self._step = 0  # the number of operations in which it waited for the others
        self._waits: list[str] = []  # the operations it is in, innermost last
        self._leaving = False
        self._lock = threading.Lock()
        self._boundaries = 0  # calls of `should_stop`, the same on all ranks
        self._asked = False  # whether it has requested a stop
        self._pause: int | None = None  # boundary at which to wait for `_stop`
        self._stop: int | None = None  # boundary at which all ranks stop
        self._stop_known = threading.Event()
        self._exit_known = threading.Event()  # rank 0 knows that this process exits

    # ---- the main thread ----

    def send(self, message: Message) -> None:
        self._channel.send(message)

    def exchange(self, what: str, value: Any) -> list[Any]:
        """The values of all ranks, in rank order.

        Raises:
            ValueError: on all ranks, if they do not all exchange `what`.
        """
        self.send({"what": what, "value": value})
        whats, values = self._answers.get()
        for rank, other in enumerate(whats):
            if other != whats[0]:
                raise ValueError(
                    f"{what}: all ranks must do the same, got {whats[0]} on rank 0 "
                    f"and {other} on rank {rank}; call collectives outside of "
                    "conditions that differ between ranks"
                )
        return values

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Marks the block as an operation that other ranks wait for."""
        self._step += 1
        self._waits.append(what)
        try:
            yield
        finally:
            self._waits.pop()

    def should_stop(self, *, asked: bool) -> bool:
        """Whether all ranks stop at this boundary between two steps.

        If a rank stopped immediately, the others would wait for it in their next step.
        So rank 0 asks each rank for a boundary a few steps ahead, at which it will wait
        for the decision, and stops all of them at the last of these boundaries.
        """
        self._step += 1
        with self._lock:
            self._boundaries += 1
            here, pause = self._boundaries, self._pause
        if asked and not self._asked:
            self._asked = True
            self.send({"stop": True})
        if pause is not None and here >= pause:
            self._stop_known.wait()
        return self._stop is not None and here >= self._stop

    def resume(self) -> None:
        """Clears a stop; all ranks must call it."""
        self.exchange(RESUME, None)
        self._asked, self._pause, self._stop = False, None, None
        self._stop_known.clear()

    def leave(self) -> None:
        """Announces that this process exits regularly; waits until rank 0 knows."""
        self._leaving = True
        self.send({"leaving": True, **self._status()})
        self._exit_known.wait(EXIT_GRACE)

    # ---- its thread ----

    def run(self) -> None:
        """Sends the status; exits when rank 0 reports a failure or is lost."""
        lifeline = int(os.environ.get(LIFELINE_VARIABLE, "-1"))
        sources: list[Any] = [self._channel.socket, *([lifeline] * (lifeline >= 0))]
        heard, hub = time.monotonic(), Member(where="")
        while True:
            before = time.monotonic()
            ready, _, _ = select.select(sources, [], [], PERIOD)
            now = time.monotonic()
            if now - before > self.timeout / 2:  # this process itself was suspended
                heard = now
            if lifeline in ready:
                self._end("the launcher has ended")
            if self._channel.socket in ready:
                messages = self._channel.receive()
                if messages is None:
                    if self._leaving or hub.exited:
                        self._exit_known.set()
                        return self._watch_after_rank_0(hub)
                    self._end(f"rank 0 has ended{hub.during()}")
                heard = now
                for message in messages or ():
                    self._handle_message(message, hub)
            if now - heard > self.timeout and not hub.exited:
                self._end(silence_message(0, hub, self.timeout))
            self.send(self._status())

    def _watch_after_rank_0(self, hub: "Member") -> None:
        """After rank 0 has exited: exits if this process waits for it."""
        while not self._leaving:
            step = self._step
            time.sleep(EXIT_GRACE)
            if self._waits and self._step == step > hub.step:
                self._end(
                    f"rank 0 has ended{hub.during()}, and this one waits for it "
                    f"in {self._waits[-1]}"
                )

    def _handle_message(self, message: Message, hub: "Member") -> None:
        if "failure" in message:
            self._end(message["failure"])
        if "values" in message:
            self._answers.put((message["whats"], message["values"]))
        if "left" in message:
            self._exit_known.set()
        if "pause" in message:
            with self._lock:
                self._pause = self._boundaries + _STEPS_AHEAD
                self.send({"pausing": self._pause})
        if "stop" in message:
            self._stop = message["stop"]
            self._stop_known.set()
        if "step" in message:
            hub.update(message, time.monotonic())

    def _status(self) -> Message:
        waits = self._waits[-1:]  # a copy, since the main thread may pop it meanwhile
        return {"step": self._step, "waits": waits[0] if waits else None}

    def end_unconnected(self, error: Exception) -> None:
        """Exits with the code for which `launch` restarts all processes."""
        end_process(self.rank, str(error), UNCONNECTED)

    def _end(self, message: str) -> None:
        end_process(self.rank, message)
