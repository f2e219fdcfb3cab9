"""Starts the processes of a group, and ends all of them when one fails."""

import contextlib
import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from lucid_fn.distributed.connection import ADDRESS_VARIABLE
from lucid_fn.distributed.group import TIMEOUT_VARIABLE
from lucid_fn.distributed.hub import EXIT_CODE
from lucid_fn.distributed.watchdog import LIFELINE_VARIABLE, UNCONNECTED

_LOCAL = "127.0.0.1"
_THREADS = ("OMP_NUM_THREADS", "LUCID_FN_STREAMS")  # cores that a process may use
_POLL = 0.01  # seconds; who failed first is told apart by it
_SETTLE = 1.0  # seconds in which those that fail together do so
_CONNECTIONS = 3  # more attempts: MLX waits 15 s only for a process on a busy machine
_GRACE = 5.0  # seconds from SIGTERM to SIGKILL


class Host(NamedTuple):
    """A machine of the hosts file: how to log in, and its addresses in the ring."""

    ssh: str
    ips: tuple[str, ...]

    def is_local(self) -> bool:
        return self.ssh in (_LOCAL, "localhost")


class Worker(NamedTuple):
    """A process of the group, or the `ssh` that runs it elsewhere."""

    rank: int
    process: subprocess.Popen[str]


def launch(
    command: Sequence[str],
    *,
    workers: int = 1,
    hosts: Sequence[Host] = (Host(_LOCAL, (_LOCAL,)),),
    restarts: int = 0,
    timeout: float | None = None,
    port: int | None = None,
) -> int:
    """Runs a Python script in several processes; returns the exit code.

    Args:
        command: the script and its arguments.
        workers: processes on each host.
        hosts: machines, in the order of ranks.
        restarts: how often all processes are started again after one has failed.
        timeout: of the watchdog; see `distributed.init`.
        port: the first of `size + 1` ports on other machines.

    Returns:
        0 if all processes returned 0, else the code of the one that failed first; 128
        and the number of the signal that ended it.
    """
    places = [host for host in hosts for _ in range(workers)]
    left, connections = restarts, _CONNECTIONS
    while True:
        code, interrupted = _run(command, places, timeout, port)
        if code == UNCONNECTED and connections and not interrupted:
            connections -= 1  # nothing has been done yet, so it costs no restart
            _say("starts all processes again, which did not connect")
        elif code == 0 or interrupted or left == 0:
            return code
        else:
            _say(f"starts all processes again ({left} of {restarts} restarts left)")
            left -= 1


def read_hosts(text: str) -> list[Host]:
    """Hosts from names with commas, or from a `.json` file in MLX's format.

    Raises:
        ValueError: if there is no such file, or it is not in that format.
    """
    if not text.endswith(".json"):
        return [Host(name, (name,)) for name in text.split(",") if name]
    try:
        content = json.loads(Path(text).read_text())
        listed = content["hosts"] if isinstance(content, dict) else content
        return [Host(h["ssh"], tuple(h.get("ips") or [h["ssh"]])) for h in listed]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(
            'launch: --hosts must be a file like [{"ssh": "name", "ips": '
            f'["10.0.0.1"]}}, ...], got {text}: {type(error).__name__}: {error}'
        ) from error


# ---- one run of all processes ----


def _run(
    command: Sequence[str], places: list[Host], timeout: float | None, port: int | None
) -> tuple[int, bool]:
    """The exit code of one run, and whether Ctrl-C ended it."""
    with contextlib.ExitStack() as stack:
        variables, reserved = _environment(places, timeout, port)
        for port_held in reserved:
            stack.enter_context(port_held)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lucid_fn-"))
        ring = Path(folder) / "ring.json"
        ring.write_text(variables["MLX_HOSTFILE"])
        lifeline, held = os.pipe()  # ends with this process, however it ends
        stack.callback(os.close, held)
        workers: list[Worker] = []
        with _forwarding(workers) as interrupts:
            try:
                for rank, host in enumerate(places):
                    own = {**variables, "MLX_RANK": str(rank)}
                    beside = places.count(host)
                    workers.append(
                        _start_here(rank, command, own, str(ring), lifeline, beside)
                        if host.is_local()
                        else _start_there(rank, host, command, own, beside)
                    )
                os.close(lifeline)
                readers = [reader for worker in workers for reader in _readers(worker)]
                code = _wait(workers)
            finally:
                _end(workers)
        for reader in readers:
            reader.join(_GRACE)
        return (code or 130 * bool(interrupts)), bool(interrupts)


def _environment(
    places: list[Host], timeout: float | None, port: int | None
) -> tuple[dict[str, str], list[socket.socket]]:
    """The variables that all processes share, and the ports that are kept for them."""
    reserved: list[socket.socket] = []
    ports: list[int] = []
    for i in range(len(places) + 1):
        if all(map(Host.is_local, places)):
            held = reserve_port()
            reserved.append(held)
            ports.append(int(held.getsockname()[1]))
        else:
            ports.append((port or 32323) + i)
    ring = [[f"{h.ips[0]}:{p}"] for h, p in zip(places, ports, strict=False)]
    token = secrets.randbits(31)
    meet = f"{places[0].ips[0]}:{ports[-1]}:{token}:{len(places)}"
    variables = {"MLX_HOSTFILE": json.dumps(ring), ADDRESS_VARIABLE: meet}
    if timeout is not None:
        variables[TIMEOUT_VARIABLE] = str(timeout)
    return variables, reserved


def reserve_port() -> socket.socket:
    """A free port, kept from other programs until the socket is closed.

    MLX listens with SO_REUSEPORT, so that the process that it is kept for can use it;
    so could another group, if the port were free.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    held.bind((_LOCAL, 0))
    return held


def _threads(workers: int) -> dict[str, str]:
    """What keeps the processes of this machine from taking each other's cores."""
    if workers == 1:
        return {}
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else (os.cpu_count() or 1)
    each = str(max(cores // workers, 1))
    return {name: os.environ.get(name, each) for name in _THREADS}


def _start_here(
    rank: int,
    command: Sequence[str],
    variables: dict[str, str],
    ring: str,
    lifeline: int,
    workers: int,
) -> Worker:
    environment = {
        **os.environ,
        **_threads(workers),
        **variables,
        "MLX_HOSTFILE": ring,
        LIFELINE_VARIABLE: str(lifeline),
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        pass_fds=[lifeline],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C reaches it through this process only
    )
    return Worker(rank, process)


def _start_there(
    rank: int,
    host: Host,
    command: Sequence[str],
    variables: dict[str, str],
    workers: int,
) -> Worker:
    script = remote_script(command, variables, workers)
    process = subprocess.Popen(
        ["ssh", "-tt", "-o", "LogLevel=QUIET", host.ssh, script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    return Worker(rank, process)


def remote_script(
    command: Sequence[str], variables: dict[str, str], workers: int
) -> str:
    """The shell script that starts a process on another machine, in this folder."""
    cores = "$(nproc 2>/dev/null || sysctl -n hw.ncpu)"
    each = f"$(( {cores} < {workers} ? 1 : {cores} / {workers} ))"
    ring = shlex.quote(variables["MLX_HOSTFILE"])
    others = {k: v for k, v in variables.items() if k != "MLX_HOSTFILE"}
    lines = [
        f"cd {shlex.quote(os.getcwd())}",
        "ring=$(mktemp)",
        f"printf %s {ring} > $ring",
        "export PYTHONUNBUFFERED=1 MLX_HOSTFILE=$ring",
        *(f"export {name}={each}" for name in _THREADS * (workers > 1)),
        *(f"export {name}={shlex.quote(text)}" for name, text in others.items()),
        f"exec {shlex.join([sys.executable, *command])}",
    ]
    return " && ".join(lines)


# ---- output, signals and the end ----


def _readers(worker: Worker) -> Iterator[threading.Thread]:
    """Threads that copy the output of a process, with its rank before each line."""
    streams = ((worker.process.stdout, sys.stdout), (worker.process.stderr, sys.stderr))
    for source, target in streams:
        thread = threading.Thread(
            target=_copy, args=(source, target, f"[{worker.rank}] "), daemon=True
        )
        thread.start()
        yield thread


def _copy(source: TextIO, target: TextIO, prefix: str) -> None:
    with source:
        for line in source:
            with contextlib.suppress(OSError):  # nobody reads, but the run goes on
                target.write(f"{prefix}{line.rstrip()}\n")  # at once: lines stay whole
                target.flush()


@contextlib.contextmanager
def _forwarding(workers: list[Worker]) -> Iterator[list[int]]:
    """Passes signals on to all processes; the list holds those that came.

    The first Ctrl-C asks them to end between two steps. A second one ends them at once.
    """
    received: list[int] = []

    def forward(number: int, _: Any) -> None:
        again = number in received
        received.append(number)
        for worker in workers:
            _signal(worker, signal.SIGKILL if again else number)

    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {kind: signal.signal(kind, forward) for kind in kinds}
    try:
        yield received
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _signal(worker: Worker, number: int) -> None:
    """Sends a signal to a process and those that it has started."""
    if worker.process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.process.pid, number)


def _wait(workers: list[Worker]) -> int:
    """Waits until all have returned 0, or one has not; returns its code."""
    ended: dict[int, int] = {}  # codes by rank, in the order in which they came
    last = float("inf")
    while len(ended) < len(workers) and time.monotonic() < last:
        for worker in workers:
            code = worker.process.poll()
            if code is not None and worker.rank not in ended:
                ended[worker.rank] = code
                if code:
                    last = min(last, time.monotonic() + _SETTLE)
        time.sleep(_POLL)
    if not any(ended.values()):
        return 0
    rank, code = _cause(ended)
    done = [other for other, its in ended.items() if not its]
    before = f", after rank {', '.join(map(str, done))} had ended" if done else ""
    _say(f"rank {rank} {_reason(code)}{before}; ends all processes")
    return 128 - code if code < 0 else code


def _cause(ended: dict[int, int]) -> tuple[int, int]:
    """The rank that failed by itself, and its code.

    Others end because of it: by their watchdogs, or by an error of MLX.
    """

    def guilt(item: tuple[int, int]) -> int:
        return 0 if item[1] < 0 else 2 if item[1] == EXIT_CODE else 1

    return min(((r, c) for r, c in ended.items() if c), key=guilt)


def _reason(code: int) -> str:
    if code == EXIT_CODE:
        return "ended because of another process, which it names above"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _end(workers: list[Worker]) -> None:
    """Ends what still runs: politely, then by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for worker in workers:
            _signal(worker, number)
        last = time.monotonic() + _GRACE
        while any(worker.process.poll() is None for worker in workers):
            if time.monotonic() > last:
                break
            time.sleep(_POLL)


def _say(message: str) -> None:
    print(f"lucid_fn launch: {message}", file=sys.stderr, flush=True)
