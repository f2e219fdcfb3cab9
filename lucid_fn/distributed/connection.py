"""The connections of a group beside its backend: where they meet, and what they carry.

Each process has one TCP connection to rank 0. It carries JSON messages.
"""

import json
import os
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

ADDRESS_VARIABLE = "LUCID_FN_WATCHDOG"  # host:port:token:size, from `launch`

_MOST = 1 << 26  # bytes of a message

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


def listen(host: str, port: int) -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # `launch` holds it
    server.bind((host, port))
    server.listen(128)
    return server


def reach(host: str, port: int, timeout: float) -> socket.socket:
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


class Line:
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
        """The messages that are there; `None` once the connection has ended, or if what
        came is not a message, as from a program that scans ports."""
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
            if length > _MOST:
                return None
            if len(self._received) < 4 + length:
                break
            try:
                message = json.loads(bytes(self._received[4 : 4 + length]))
            except ValueError:
                return None
            if not isinstance(message, dict):
                return None
            messages.append(message)
            del self._received[: 4 + length]
        return messages
