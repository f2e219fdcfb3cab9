"""The watchdog of a group: it notices processes that are killed or stalled.

MLX's collectives wait for ever for a process that is gone, deaf to Ctrl-C. So each
process has a thread with a TCP connection to rank 0 beside the backend. Twice a second
it says what its process is doing. Rank 0 judges, in `hub`; what it finds goes to all
processes, which print it and end. The others watch rank 0. MLX waits without Python's
lock, so the threads run on.

The connection also carries what the processes compare before they trust each other:
names, shapes and dtypes (`exchange`).
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

from lucid_fn.distributed.connection import Line, Message, listen, reach
from lucid_fn.distributed.hub import (
    PATIENCE,
    PERIOD,
    RESUME,
    Hub,
    Member,
    end_process,
    no_sign,
)

LIFELINE_VARIABLE = "LUCID_FN_LIFELINE"  # a pipe that ends with the launcher
UNCONNECTED = 69  # exit code of a process whose backend did not connect: EX_UNAVAILABLE

_AHEAD = 4  # steps that a process goes on until all know after which one they stop


def start(
    rank: int, size: int, host: str, port: int, token: int, *, timeout: float
) -> "Watchdog":
    """Connects this process to rank 0; returns once all processes are there.

    Raises:
        RuntimeError: if they are not there in time.
    """
    if rank == 0:
        ours, hubs = socket.socketpair()
        server = listen(host, port)
        hub = Hub(size, timeout, server, hubs, token)
        threading.Thread(target=hub.run, name="lucid_fn hub", daemon=True).start()
    else:
        ours = reach(host, port, timeout)
    watchdog = Watchdog(rank, ours, timeout)
    where = f"process {os.getpid()} on {socket.gethostname()}"
    watchdog.send({"hello": rank, "token": token, "where": where})
    threading.Thread(target=watchdog.run, name="lucid_fn watchdog", daemon=True).start()
    with watchdog.waiting("distributed.init"):
        watchdog.exchange("distributed.init", rank)
    atexit.register(watchdog.leave)
    return watchdog


class Watchdog:
    """This process's end of the connection, and what it says of itself."""

    def __init__(self, rank: int, connection: socket.socket, timeout: float) -> None:
        self.rank = rank
        self.timeout = timeout
        self._line = Line(connection)
        self._answers: SimpleQueue[tuple[list[str], list[Any]]] = SimpleQueue()
        self._step = 0  # how often it has waited for the others
        self._waits: list[str] = []  # for what it waits now
        self._leaving = False
        self._lock = threading.Lock()
        self._boundaries = 0  # between steps, so far: the same ones on all ranks
        self._asked = False  # whether it has wished to stop
        self._pause: int | None = None  # not to go on from here without knowing more
        self._stop: int | None = None  # where all stop
        self._known = threading.Event()
        self._left = threading.Event()  # rank 0 knows that it ends

    # ---- the main thread ----

    def send(self, message: Message) -> None:
        self._line.send(message)

    def exchange(self, what: str, value: Any) -> list[Any]:
        """The values of all ranks, in their order.

        Raises:
            ValueError: on all ranks, if another one exchanges something else here.
        """
        self.send({"what": what, "value": value})
        whats, values = self._answers.get()
        for rank, other in enumerate(whats):
            if other != whats[0]:
                raise ValueError(
                    f"{what}: all ranks must do the same, got {whats[0]} on rank 0 "
                    f"and {other} on rank {rank}; call what needs all ranks outside "
                    "of conditions that differ among them"
                )
        return values

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Inside the block, the process does what others wait for."""
        self._step += 1
        self._waits.append(what)
        try:
            yield
        finally:
            self._waits.pop()

    def should_stop(self, *, asked: bool) -> bool:
        """Between two steps: whether all ranks stop here.

        A rank that stopped at once would leave the others waiting in their next step.
        So rank 0 asks all ranks how far they are, and lets them stop a little later.
        Each promises not to go on further than that in the meantime.
        """
        self._step += 1
        with self._lock:
            self._boundaries += 1
            here, pause = self._boundaries, self._pause
        if asked and not self._asked:
            self._asked = True
            self.send({"stop": True})
        if pause is not None and here >= pause:
            self._known.wait()
        return self._stop is not None and here >= self._stop

    def resume(self) -> None:
        """Forgets that all have stopped; all ranks have to call it."""
        self.exchange(RESUME, None)
        self._asked, self._pause, self._stop = False, None, None
        self._known.clear()

    def leave(self) -> None:
        """Says that this process ends by itself; waits until rank 0 knows."""
        self._leaving = True
        self.send({"leaving": True, **self._status()})
        self._left.wait(PATIENCE)

    # ---- its thread ----

    def run(self) -> None:
        """Says what the process does, and ends it when rank 0 says so or is gone."""
        lifeline = int(os.environ.get(LIFELINE_VARIABLE, "-1"))
        sources: list[Any] = [self._line.connection, *([lifeline] * (lifeline >= 0))]
        heard, hub = time.monotonic(), Member(where="")
        while True:
            before = time.monotonic()
            ready, _, _ = select.select(sources, [], [], PERIOD)
            now = time.monotonic()
            if now - before > self.timeout / 2:  # this process itself was stopped
                heard = now
            if lifeline in ready:
                self._end("the launcher has ended")
            if self._line.connection in ready:
                messages = self._line.receive()
                if messages is None:
                    if self._leaving or hub.left:
                        self._left.set()
                        return self._watch_alone(hub)
                    self._end(f"rank 0 has ended{hub.doing()}")
                heard = now
                for message in messages or ():
                    self._take(message, hub)
            if now - heard > self.timeout and not hub.left:
                self._end(no_sign(0, hub, self.timeout))
            self.send(self._status())

    def _watch_alone(self, hub: "Member") -> None:
        """Rank 0 has ended by itself: nothing of it may be waited for."""
        while not self._leaving:
            step = self._step
            time.sleep(PATIENCE)
            if self._waits and self._step == step > hub.step:
                self._end(
                    f"rank 0 has ended{hub.doing()}, and this one waits for it "
                    f"in {self._waits[-1]}"
                )

    def _take(self, message: Message, hub: "Member") -> None:
        if "verdict" in message:
            self._end(message["verdict"])
        if "values" in message:
            self._answers.put((message["whats"], message["values"]))
        if "left" in message:
            self._left.set()
        if "pause" in message:
            with self._lock:
                self._pause = self._boundaries + _AHEAD
                self.send({"pausing": self._pause})
        if "stop" in message:
            self._stop = message["stop"]
            self._known.set()
        if "step" in message:
            hub.update(message, time.monotonic())

    def _status(self) -> Message:
        waits = self._waits[-1:]
        return {"step": self._step, "waits": waits[0] if waits else None}

    def end_unconnected(self, error: Exception) -> None:
        """Ends the process; `launch`, which has started it, starts all again."""
        end_process(self.rank, str(error), UNCONNECTED)

    def _end(self, message: str) -> None:
        end_process(self.rank, message)
