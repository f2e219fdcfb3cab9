"""The control connections of a group: one TCP connection from each process to rank 0.

They carry JSON messages, independently of the backend.
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

_MAX_MESSAGE = 1 << 26  # bytes of a message

Rendezvous = tuple[int, int, str, int, int]  # rank, size, host, port, token
Message = dict[str, Any]


def rendezvous_from_env(environ: Mapping[str, str]) -> Rendezvous | None:
    """The rendezvous that the launcher chose, if it did."""
    text = environ.get(ADDRESS_VARIABLE)
    if not text:
        return None
    host, port, token, size = text.rsplit(":", 3)
    return int(environ["MLX_RANK"]), int(size), host, int(port), int(token)


def share_rendezvous(
    rank: int, size: int, share: Callable[[list[int]], list[int]]
) -> Rendezvous:
    """A rendezvous that rank 0 chooses, for processes of other launchers.

    Args:
        rank: of this process.
        size: number of processes.
        share: returns the list of rank 0 on every rank.
    """
    host = _own_host() if rank == 0 else "0.0.0.0"
    port = _free_port(host) if rank == 0 else 0
    token = secrets.randbits(31) if rank == 0 else 0
    *parts, port, token = share([*map(int, host.split(".")), port, token])
    return rank, size, ".".join(map(str, parts)), port, token


def _own_host() -> str:
    """The address at which other processes can connect to this one."""
    if hosts := os.environ.get("MLX_HOSTFILE"):
        first = json.loads(Path(hosts).read_text())[0][0]
        return socket.gethostbyname(first.rpartition(":")[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:  # selects the interface without sending anything
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
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)  # `launch` reserves it
    server.bind((host, port))
    server.listen(128)
    return server


def connect(host: str, port: int, timeout: float) -> socket.socket:
    """Connects to rank 0; retries until the timeout."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            found = socket.create_connection((host, port), timeout=timeout)
        except OSError as error:
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"distributed.init: rank 0 must be reached at {host}:{port} within "
                    f"{timeout:g} s, got {error}; check that it runs, and the network"
                ) from error
            time.sleep(0.05)
        else:
            found.settimeout(None)
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return found


class Channel:
    """One end of a connection that carries JSON messages, prefixed by their length."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._lock = threading.Lock()
        self._received = bytearray()

    def send(self, message: Message) -> None:
        """Sends a message; a closed connection is noticed by `receive`."""
        data = json.dumps(message).encode()
        with suppress(OSError), self._lock:
            self.socket.sendall(struct.pack(">I", len(data)) + data)

    def receive(self) -> list[Message] | None:
        """The messages that have arrived.

        `None` if the connection is closed, or if the data is not a message, as from a
        port scanner.
        """
        try:
            data = self.socket.recv(1 << 16)
        except OSError:
            return None
        if not data:
            return None
        self._received += data
        messages = []
        while len(self._received) >= 4:
            (length,) = struct.unpack_from(">I", self._received)
            if length > _MAX_MESSAGE:
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
