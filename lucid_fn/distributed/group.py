"""The processes of a run, and how they find each other."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from lucid_fn.checks import check_choice, check_number

if TYPE_CHECKING:
    from lucid_fn.distributed.watchdog import Watchdog

# What the environment holds where a launcher started this process, by backend.
_LAUNCHED = {
    "ring": ("MLX_RANK", "MLX_HOSTFILE"),
    "nccl": ("MLX_RANK", "NCCL_HOST_IP", "NCCL_PORT", "MLX_WORLD_SIZE"),
    "jaccl": ("MLX_RANK", "MLX_JACCL_COORDINATOR"),
    "mpi": ("OMPI_COMM_WORLD_RANK",),
}
TIMEOUT_VARIABLE = "LUCID_FN_TIMEOUT"
_TIMEOUT = 300.0  # seconds; the first step of a large model compiles for a minute


@dataclass(frozen=True)
class Group:
    """The processes of a run: this one's `rank`, in `[0, size)`, and their number.

    `init` makes it. Functions that take a `group` do for a group of one, and for
    `None`, what they do without it.
    """

    rank: int
    size: int
    backend: str | None = None
    handle: Any = field(default=None, repr=False, compare=False)  # MLX's group
    watchdog: "Watchdog | None" = field(default=None, repr=False, compare=False)


def check_group(caller: str, group: Any) -> None:
    """Raises unless `group` is a group or `None`."""
    if group is not None and not isinstance(group, Group):
        raise TypeError(
            f"{caller}: group must be a Group, as distributed.init() returns it, or "
            f"None, got {type(group).__name__}"
        )


def init(*, backend: str | None = None, timeout: float | None = None) -> Group:
    """The group of the processes that were launched together.

    A process that was started by itself is a group of one, with which nothing is sent
    and every function of this package is the identity. So one script serves both:

        python script.py
        python -m lucid_fn launch -n 4 script.py

    It may be called again, and returns the same group. `mlx.launch` and `mpirun` work
    as well. Each process watches the others: when one is killed, or gives no sign of
    life, or is waited for longer than `timeout`, all others end with a message that
    names it, instead of waiting for ever.

    Args:
        backend: `"ring"` (TCP), `"mpi"`, `"nccl"` or `"jaccl"`; by default the one that
            the launcher has prepared.
        timeout: seconds without a sign of life, or without a step while others wait,
            after which a process counts as stalled; positive. The default is that of
            `launch --timeout`, or 300.

    Returns:
        The group: `rank`, in `[0, size)`, and `size`.

    Raises:
        ValueError: if `backend` is unknown, or `timeout` is not positive.
        RuntimeError: if the processes do not find each other, or the hosts file is
            damaged.

    Example:
        >>> from lucid_fn import distributed
        >>> group = distributed.init()
        >>> group.rank, group.size
        (0, 1)
    """
    if backend is not None:
        check_choice("distributed.init", "backend", backend, _LAUNCHED)
    if timeout is not None:
        timeout = check_number("distributed.init", "timeout", timeout, above=0)
    chosen = backend or _launched(os.environ)
    if chosen is None or not _launched(os.environ, chosen) or _alone(chosen):
        return Group(0, 1)
    given = timeout or float(os.environ.get(TIMEOUT_VARIABLE, _TIMEOUT))
    return _connected(chosen, given)


def _launched(environ: Mapping[str, str], backend: str | None = None) -> str | None:
    """The backend that a launcher has prepared, if any."""
    for name, variables in _LAUNCHED.items():
        if backend in (None, name) and all(map(environ.get, variables)):
            return name
    return None


def _alone(backend: str) -> bool:
    """Whether the ring has one process, with which MLX would fail to connect."""
    if backend != "ring":
        return False
    try:
        text = Path(os.environ["MLX_HOSTFILE"]).read_text().strip()
        return len(json.loads(text or "[]")) < 2
    except (OSError, ValueError, TypeError) as error:
        raise RuntimeError(
            "distributed.init: MLX_HOSTFILE must be a file such as "
            f'[["127.0.0.1:5000"], ["127.0.0.1:5001"]], got {error}'
        ) from error


@cache  # a process can join one group only
def _connected(backend: str, timeout: float) -> Group:
    # Sockets and threads, for several only.
    from lucid_fn.distributed import connection, watchdog

    meet = connection.address_given(os.environ)
    watch = None
    if meet is not None:  # all are there before the backend waits for them, unwatched
        watch = watchdog.start(*meet, timeout=timeout)
    try:
        handle = _handle(backend)
    except RuntimeError as error:
        if watch is not None:
            watch.end_unconnected(error)
        raise
    rank, size = handle.rank(), handle.size()
    if size == 1:
        return Group(0, 1)
    if watch is None:
        meet = connection.meet_at(rank, size, partial(_from_root, handle))
        watch = watchdog.start(*meet, timeout=timeout)
    return Group(rank, size, backend, handle, watch)


def _handle(backend: str) -> Any:
    try:
        return mx.distributed.init(strict=True, backend=backend)
    except RuntimeError as error:
        raise RuntimeError(
            f"distributed.init: the backend {backend} did not connect: {error}; check "
            "that all processes run and reach the addresses in the hosts file"
        ) from error


def _from_root(handle: Any, numbers: list[int]) -> list[int]:
    """The integers of rank 0."""
    mine = mx.array(numbers, mx.int32) * (handle.rank() == 0)
    summed: Any = mx.distributed.all_sum(mine, group=handle).tolist()
    return list(summed)
