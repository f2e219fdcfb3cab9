"""The watchdog of a group: it notices processes that are killed or stalled.

MLX's collectives wait for ever for a process that is gone, deaf to Ctrl-C. So each
process has a thread with a TCP connection to rank 0 beside the backend. Twice a second
it says what its process is doing. Rank 0 judges; what it finds goes to all processes,
which print it and end. The others watch rank 0. MLX waits without Python's lock, so the
threads run on.

The connection also carries what the processes compare before they trust each other:
names, shapes and dtypes (`exchange`).
"""

import atexit
import json
import os
import secrets
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

ADDRESS_VARIABLE = "LUCID_FN_WATCHDOG"  # host:port:token:rank:size, from `launch`
LIFELINE_VARIABLE = "LUCID_FN_LIFELINE"  # a pipe that ends with the launcher
EXIT_CODE = 75  # of a process that ends because of another: EX_TEMPFAIL
UNCONNECTED = 69  # of one whose backend did not connect: EX_UNAVAILABLE

_PERIOD = 0.5  # seconds between two signs of life
_PATIENCE = 5.0  # seconds in which a process that ends may be waited for
_MOST = 1 << 26  # bytes of a message
_RESUME = "the end of an interruption"
_AHEAD = 4  # steps that a process goes on until all know after which one they stop

Place = tuple[int, int, str, int, int]  # rank, size, host, port, token
Message = dict[str, Any]


def address_given(environ: Mapping[str, str]) -> Place | None:
    """Where the launcher lets the processes meet, if it does."""
    text = environ.get(ADDRESS_VARIABLE)
    if not text:
        return None
    host, port, token, size = text.rsplit(":", 3)
    return int(environ["MLX_RANK"]), int(size), host, int(port), int(token)


def meet_at(rank: int, size: int, share: Callable[[list[int]], list[int]]) -> Place:
    """Where the processes meet that another launcher started; rank 0 decides.

    Args:
        rank: of this process.
        size: number of processes.
        share: returns the list of rank 0 on each rank.
    """
    host = _own_host() if rank == 0 else "0.0.0.0"
    port = _free_port(host) if rank == 0 else 0
    token = secrets.randbits(31) if rank == 0 else 0
    *parts, port, token = share([*map(int, host.split(".")), port, token])
    return rank, size, ".".join(map(str, parts)), port, token


def _own_host() -> str:
    """The address at which the others reach this process."""
    if hosts := os.environ.get("MLX_HOSTFILE"):
        first = json.loads(Path(hosts).read_text())[0][0]
        return socket.gethostbyname(first.rpartition(":")[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:  # sends nothing, but chooses the interface
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def start(
    rank: int, size: int, host: str, port: int, token: int, *, timeout: float
) -> "Watchdog":
    """Connects this process to rank 0; returns once all processes are there.

    Raises:
        RuntimeError: if they are not there in time.
    """
    if rank == 0:
        ours, hubs = socket.socketpair()
        server = _listen(host, port)
        hub = _Hub(size, timeout, server, hubs, token)
        threading.Thread(target=hub.run, name="lucid_fn hub", daemon=True).start()
    else:
        ours = _reach(host, port, timeout)
    watchdog = Watchdog(rank, ours, timeout)
    watchdog.send({"hello": rank, "token": token, "where": _where()})
    threading.Thread(target=watchdog.run, name="lucid_fn watchdog", daemon=True).start()
    with watchdog.waiting("distributed.init"):
        watchdog.exchange("distributed.init", rank)
    atexit.register(watchdog.leave)
    return watchdog


def _listen(host: str, port: int) -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # `launch` holds it
    server.bind((host, port))
    server.listen(128)
    return server


def _reach(host: str, port: int, timeout: float) -> socket.socket:
    last = time.monotonic() + timeout
    while True:
        try:
            found = socket.create_connection((host, port), timeout=timeout)
        except OSError as error:
            if time.monotonic() > last:
                raise RuntimeError(
                    f"distributed.init: rank 0 must be reached at {host}:{port} within "
                    f"{timeout:g} s, got {error}; check that it runs, and the network"
                ) from error
            time.sleep(0.05)
        else:
            found.settimeout(None)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return found


def _where() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


class _Line:
    """One end of a connection: JSON messages, each after its length."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._lock = threading.Lock()
        self._received = bytearray()

    def send(self, message: Message) -> None:
        """Sends; a connection that has ended is noticed where one receives."""
        data = json.dumps(message).encode()
        with suppress(OSError), self._lock:
            self.connection.sendall(struct.pack(">I", len(data)) + data)

    def receive(self) -> list[Message] | None:
        """The messages that are there, `None` once the connection has ended."""
        try:
            data = self.connection.recv(1 << 16)
        except OSError:
            return None
        if not data:
            return None
        self._received += data
        messages = []
        while len(self._received) >= 4:
            (length,) = struct.unpack_from(">I", self._received)
            if length > _MOST:  # not one of ours
                return None
            if len(self._received) < 4 + length:
                break
            messages.append(json.loads(bytes(self._received[4 : 4 + length])))
            del self._received[: 4 + length]
        return messages


class Watchdog:
    """This process's end of the connection, and what it says of itself."""

    def __init__(self, rank: int, connection: socket.socket, timeout: float) -> None:
        self.rank = rank
        self.timeout = timeout
        self._line = _Line(connection)
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

    def stops_here(self, *, asked: bool) -> bool:
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
        self.exchange(_RESUME, None)
        self._asked, self._pause, self._stop = False, None, None
        self._known.clear()

    def leave(self) -> None:
        """Says that this process ends by itself; waits until rank 0 knows."""
        self._leaving = True
        self.send({"leaving": True, **self._status()})
        self._left.wait(_PATIENCE)

    # ---- its thread ----

    def run(self) -> None:
        """Says what the process does, and ends it when rank 0 says so or is gone."""
        lifeline = int(os.environ.get(LIFELINE_VARIABLE, "-1"))
        sources: list[Any] = [self._line.connection, *([lifeline] * (lifeline >= 0))]
        heard, hub = time.monotonic(), _Member(where="")
        while True:
            before = time.monotonic()
            ready, _, _ = select.select(sources, [], [], _PERIOD)
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
                self._end(_no_sign(0, hub, self.timeout))
            self.send(self._status())

    def _watch_alone(self, hub: "_Member") -> None:
        """Rank 0 has ended by itself: nothing of it may be waited for."""
        while not self._leaving:
            step = self._step
            time.sleep(_PATIENCE)
            if self._waits and self._step == step > hub.step:
                self._end(
                    f"rank 0 has ended{hub.doing()}, and this one waits for it "
                    f"in {self._waits[-1]}"
                )

    def _take(self, message: Message, hub: "_Member") -> None:
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
        _end(self.rank, str(error), UNCONNECTED)

    def _end(self, message: str) -> None:
        _end(self.rank, message)


def _end(rank: int, message: str, code: int = EXIT_CODE) -> None:
    """Ends the process, whose main thread may never return from MLX."""
    with suppress(OSError):  # the launcher, which reads it, may be gone
        os.write(2, f"lucid_fn: rank {rank} ends: {message}\n".encode())
    os._exit(code)


@dataclass
class _Member:
    """What is known of a process."""

    where: str
    line: _Line | None = None
    heard: float = 0.0  # when it gave a sign of life
    changed: float = 0.0  # when its step or what it waits for was another one
    step: int = 0
    waits: str | None = None
    left: bool = False  # it ended by itself
    given: list[tuple[str, Any]] = field(default_factory=list)  # to be exchanged

    def update(self, status: Message, now: float) -> None:
        new = status["step"], status["waits"]
        if new != (self.step, self.waits):
            self.changed = now
        self.step, self.waits = new
        self.left = self.left or "leaving" in status

    def doing(self) -> str:
        return f" in {self.waits}" if self.waits else ""


def _no_sign(rank: int, member: _Member, timeout: float) -> str:
    where = f" ({member.where})" if member.where else ""
    return (
        f"rank {rank}{where} has given no sign of life for {timeout:g} s"
        f"{member.doing()}: it is stopped, or its machine is out of reach"
    )


class _Hub:
    """Rank 0's other end of all connections."""

    def __init__(
        self,
        size: int,
        timeout: float,
        server: socket.socket,
        own: socket.socket,
        token: int,
    ) -> None:
        self.size = size
        self.timeout = timeout
        self.token = token
        self.server = server
        self.strangers = [_Line(own)]  # connections that have not said who they are
        self.members: dict[int, _Member] = {}
        self.started = time.monotonic()
        self.told = 0.0
        self.pausing: dict[int, int] | None = None  # where each rank pauses

    def run(self) -> None:
        while True:
            before = time.monotonic()
            lines = {line.connection: line for line in self.strangers}
            for member in self.members.values():
                if member.line is not None:
                    lines[member.line.connection] = member.line
            ready, _, _ = select.select([self.server, *lines], [], [], _PERIOD)
            now = time.monotonic()
            if now - before > self.timeout / 2:  # it was stopped itself: ask anew
                self._forgive(now)
            for source in ready:
                if source is self.server:
                    self.strangers.append(_Line(self.server.accept()[0]))
                else:
                    self._read(lines[source], now)
            if message := self._judge(now):
                self._condemn(message)
            if now - self.told > _PERIOD:
                self.told = now
                self._tell_of_rank_0()

    def _forgive(self, now: float) -> None:
        for member in self.members.values():
            member.heard = member.changed = now

    def _read(self, line: _Line, now: float) -> None:
        messages = line.receive()
        rank = self._rank_of(line)
        if messages is None:
            if rank is None:
                self.strangers.remove(line)
            else:
                self._lost(rank)
            return
        for message in messages:
            if rank is None:
                rank = self._greet(line, message, now)
                continue
            member = self.members[rank]
            member.heard = now
            if "step" in message:
                member.update(message, now)
            if "leaving" in message:
                self._tell_of_rank_0()  # the others, before rank 0 is gone
                line.send({"left": True})
            if "value" in message:
                member.given.append((message["what"], message["value"]))
                self._answer()
            if "stop" in message and self.pausing is None:
                self.pausing = {}
                self._send_all({"pause": True})
            if "pausing" in message and self.pausing is not None:
                self.pausing[rank] = message["pausing"]
                if len(self.pausing) == self.size:
                    self._send_all({"stop": max(self.pausing.values())})

    def _rank_of(self, line: _Line) -> int | None:
        return next((r for r, m in self.members.items() if m.line is line), None)

    def _greet(self, line: _Line, message: Message, now: float) -> int | None:
        if message.get("token") != self.token or "hello" not in message:
            return None
        self.strangers.remove(line)
        rank = int(message["hello"])
        self.members[rank] = _Member(message["where"], line, now, now)
        return rank

    def _lost(self, rank: int) -> None:
        member = self.members[rank]
        member.line = None
        if not member.left:
            self._condemn(
                f"rank {rank} ({member.where}) has ended{member.doing()}: it was "
                "killed, or crashed"
            )

    def _answer(self) -> None:
        """Sends the values of an exchange once all are there."""
        members = [self.members[rank] for rank in sorted(self.members)]
        if len(members) < self.size or not all(member.given for member in members):
            return
        whats, values = zip(*(m.given.pop(0) for m in members), strict=True)
        if set(whats) == {_RESUME}:
            self.pausing = None
        self._send_all({"whats": whats, "values": values})

    def _judge(self, now: float) -> str | None:
        """What is wrong, if anything is."""
        absent = [rank for rank in range(self.size) if rank not in self.members]
        if absent:
            if now - self.started < self.timeout:
                return None
            return f"{_ranks(absent)} did not appear within {self.timeout:g} s"
        for rank, member in self.members.items():
            if not member.left and now - member.heard > self.timeout:
                return _no_sign(rank, member, self.timeout)
        return self._judge_progress(now)

    def _judge_progress(self, now: float) -> str | None:
        """Nobody who waits may wait for a process that has ended, or for ever."""
        waiting = {r: m for r, m in self.members.items() if m.waits and not m.left}
        if not waiting:
            return None
        rank, member = max(waiting.items(), key=lambda item: item[1].step)
        still = min(now - other.changed for other in waiting.values())
        late = {r: m for r, m in self.members.items() if m.step < member.step}
        for other, gone in late.items():
            if gone.left and still > _PATIENCE:
                return (
                    f"rank {other} ({gone.where}) has ended, and rank {rank} waits "
                    f"for it in {member.waits}"
                )
        if still <= self.timeout:
            return None
        if late:
            return (
                f"{_ranks(list(late))} made no step for {self.timeout:g} s, and rank "
                f"{rank} waits in {member.waits}"
            )
        return f"no rank made a step for {self.timeout:g} s in {member.waits}"

    def _condemn(self, message: str) -> None:
        self._send_all({"verdict": message}, but=0)
        _end(0, message)

    def _tell_of_rank_0(self) -> None:
        if 0 in self.members:
            member = self.members[0]
            status: Message = {"step": member.step, "waits": member.waits}
            self._send_all(status | ({"leaving": True} if member.left else {}))

    def _send_all(self, message: Message, *, but: int | None = None) -> None:
        for rank, member in self.members.items():
            if member.line is not None and rank != but:
                member.line.send(message)


def _ranks(ranks: list[int]) -> str:
    numbers = ", ".join(map(str, ranks))
    return f"rank {numbers}" if len(ranks) == 1 else f"ranks {numbers}"
