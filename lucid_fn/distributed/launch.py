"""Launches the processes of a group, and terminates all of them when one fails."""

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
_POLL = 0.01  # seconds; the resolution at which the first failure is determined
_SETTLE = 1.0  # seconds to wait for related failures after the first
_RECONNECTS = 3  # MLX waits only 15 s for a process, too little on a busy machine
_GRACE = 5.0  # seconds from SIGTERM to SIGKILL


class Host(NamedTuple):
    """A machine of the hosts file: name for `ssh`, and addresses in the ring."""

    ssh: str
    ips: tuple[str, ...]

    def is_local(self) -> bool:
        return self.ssh in (_LOCAL, "localhost")


class Worker(NamedTuple):
    """A process of the group, or the `ssh` process that runs it remotely."""

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
        restarts: how often to restart all processes after one has failed.
        timeout: of the watchdog; see `distributed.init`.
        port: the first of `size + 1` ports on remote machines.

    Returns:
        0 if all processes returned 0, else the code of the one that failed first; 128
        plus the signal's number if a signal ended it.
    """
    machines = [host for host in hosts for _ in range(workers)]  # by rank
    restarts_left, reconnects_left = restarts, _RECONNECTS
    while True:
        code, interrupted = _run(command, machines, timeout, port)
        if code == UNCONNECTED and reconnects_left and not interrupted:
            reconnects_left -= 1  # no work is lost, so this is not counted as a restart
            _log("starts all processes again, which did not connect")
        elif code == 0 or interrupted or restarts_left == 0:
            return code
        else:
            counts = f"{restarts_left} of {restarts} restarts left"
            _log(f"starts all processes again ({counts})")
            restarts_left -= 1


def read_hosts(text: str) -> list[Host]:
    """Parses comma-separated host names, or a `.json` file in MLX's format.

    Raises:
        ValueError: if the file does not exist or is not in that format.
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
    command: Sequence[str],
    machines: list[Host],
    timeout: float | None,
    port: int | None,
) -> tuple[int, bool]:
    """The exit code of one run, and whether Ctrl-C ended it."""
    with contextlib.ExitStack() as stack:
        variables, reserved = _environment(machines, timeout, port)
        for reserved_port in reserved:
            stack.enter_context(reserved_port)
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lucid_fn-"))
        ring = Path(folder) / "ring.json"
        ring.write_text(variables["MLX_HOSTFILE"])
        # The write end closes with this process, even if it is killed.
        lifeline, write_end = os.pipe()
        stack.callback(os.close, write_end)
        workers: list[Worker] = []
        with _forward_signals(workers) as interrupts:
            try:
                for rank, host in enumerate(machines):
                    own = {**variables, "MLX_RANK": str(rank)}
                    count = machines.count(host)
                    workers.append(
                        _start_local(rank, command, own, str(ring), lifeline, count)
                        if host.is_local()
                        else _start_remote(rank, host, command, own, count)
                    )
                os.close(lifeline)
                readers = [r for worker in workers for r in _start_readers(worker)]
                code = _wait(workers)
            finally:
                _terminate(workers)
        for reader in readers:
            reader.join(_GRACE)
        return (code or 130 * bool(interrupts)), bool(interrupts)


def _environment(
    machines: list[Host], timeout: float | None, port: int | None
) -> tuple[dict[str, str], list[socket.socket]]:
    """Environment variables of all processes, and the ports reserved for them."""
    reserved: list[socket.socket] = []
    ports: list[int] = []
    for i in range(len(machines) + 1):
        if all(map(Host.is_local, machines)):
            port_socket = reserve_port()
            reserved.append(port_socket)
            ports.append(int(port_socket.getsockname()[1]))
        else:
            ports.append((port or 32323) + i)
    ring = [[f"{h.ips[0]}:{p}"] for h, p in zip(machines, ports, strict=False)]
    token = secrets.randbits(31)
    rendezvous = f"{machines[0].ips[0]}:{ports[-1]}:{token}:{len(machines)}"
    variables = {"MLX_HOSTFILE": json.dumps(ring), ADDRESS_VARIABLE: rendezvous}
    if timeout is not None:
        variables[TIMEOUT_VARIABLE] = str(timeout)
    return variables, reserved


def reserve_port() -> socket.socket:
    """Reserves a free port until the socket is closed.

    MLX listens with SO_REUSEPORT, so the process that the port is meant for can still
    use it, while other programs, including other groups, get another free port.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind((_LOCAL, 0))
    return reserved


def _thread_limits(workers: int) -> dict[str, str]:
    """Environment variables that divide the cores of this machine among processes."""
    if workers == 1:
        return {}
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else (os.cpu_count() or 1)
    each = str(max(cores // workers, 1))
    return {name: os.environ.get(name, each) for name in _THREADS}


def _start_local(
    rank: int,
    command: Sequence[str],
    variables: dict[str, str],
    ring: str,
    lifeline: int,
    workers: int,
) -> Worker:
    environment = {
        **os.environ,
        **_thread_limits(workers),
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


def _start_remote(
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
    """The shell script that starts a process on a remote machine, in this directory."""
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


# ---- output, signals and termination ----


def _start_readers(worker: Worker) -> Iterator[threading.Thread]:
    """Starts threads that print the output of a process, prefixed with its rank."""
    streams = ((worker.process.stdout, sys.stdout), (worker.process.stderr, sys.stderr))
    for source, target in streams:
        thread = threading.Thread(
            target=_copy_lines, args=(source, target, f"[{worker.rank}] "), daemon=True
        )
        thread.start()
        yield thread


def _copy_lines(source: TextIO, target: TextIO, prefix: str) -> None:
    with source:
        for line in source:
            with contextlib.suppress(OSError):  # a closed output does not end the run
                target.write(f"{prefix}{line.rstrip()}\n")  # one write per line
                target.flush()


@contextlib.contextmanager
def _forward_signals(workers: list[Worker]) -> Iterator[list[int]]:
    """Forwards signals to all processes; yields the list of received signals.

    The first Ctrl-C asks them to stop between two steps, a second one kills them.
    """
    received: list[int] = []

    def forward(number: int, _: Any) -> None:
        repeated = number in received
        received.append(number)
        for worker in workers:
            _signal(worker, signal.SIGKILL if repeated else number)

    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {kind: signal.signal(kind, forward) for kind in kinds}
    try:
        yield received
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _signal(worker: Worker, number: int) -> None:
    """Sends a signal to a process and its children."""
    if worker.process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.process.pid, number)


def _wait(workers: list[Worker]) -> int:
    """Waits until all have returned 0 or one has failed; returns the exit code."""
    ended: dict[int, int] = {}  # exit codes by rank, in the order of exit
    deadline = float("inf")
    while len(ended) < len(workers) and time.monotonic() < deadline:
        for worker in workers:
            code = worker.process.poll()
            if code is not None and worker.rank not in ended:
                ended[worker.rank] = code
                if code:
                    deadline = min(deadline, time.monotonic() + _SETTLE)
        time.sleep(_POLL)
    if not any(ended.values()):
        return 0
    rank, code = _root_cause(ended)
    done = [other for other, its in ended.items() if not its]
    before = f", after rank {', '.join(map(str, done))} had ended" if done else ""
    _log(f"rank {rank} {_describe_exit(code)}{before}; ends all processes")
    return 128 - code if code < 0 else code


def _root_cause(ended: dict[int, int]) -> tuple[int, int]:
    """The rank that most likely caused the failure, and its exit code.

    Others exit because of it, by their watchdogs or with an error of MLX: a signal is
    blamed before an error, and an error before an exit by the watchdog.
    """

    def order(item: tuple[int, int]) -> int:
        return 0 if item[1] < 0 else 2 if item[1] == EXIT_CODE else 1

    return min(((r, c) for r, c in ended.items() if c), key=order)


def _describe_exit(code: int) -> str:
    if code == EXIT_CODE:
        return "ended because of another process, which it names above"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _terminate(workers: list[Worker]) -> None:
    """Terminates the processes that still run, then kills them."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for worker in workers:
            _signal(worker, number)
        deadline = time.monotonic() + _GRACE
        while any(worker.process.poll() is None for worker in workers):
            if time.monotonic() > deadline:
                break
            time.sleep(_POLL)


def _log(message: str) -> None:
    print(f"lucid_fn launch: {message}", file=sys.stderr, flush=True)
