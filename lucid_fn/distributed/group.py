"""Groups of processes, and their initialization."""

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

# The environment variables that launchers set, by backend.
_LAUNCHER_VARIABLES = {
    "ring": ("MLX_RANK", "MLX_HOSTFILE"),
    "nccl": ("MLX_RANK", "NCCL_HOST_IP", "NCCL_PORT", "MLX_WORLD_SIZE"),
    "jaccl": ("MLX_RANK", "MLX_JACCL_COORDINATOR"),
    "mpi": ("OMPI_COMM_WORLD_RANK",),
}
TIMEOUT_VARIABLE = "LUCID_FN_TIMEOUT"
_DEFAULT_TIMEOUT = 300.0  # seconds; compiling a large model takes a minute


@dataclass(frozen=True)
class Group:
    """The processes of a run: the `rank` of this one, in `[0, size)`, and their number.

    `init` returns it. For a group of one, and for `None`, functions that take a `group`
    do the same as without it.
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

    A process that was started alone is a group of one, where nothing is sent and
    collectives return their values unchanged. So one script can run in both ways:

        python script.py
        python -m lucid_fn launch -n 4 script.py

    `mlx.launch` and `mpirun` work as well. Repeated calls return the same group. Each
    process is watched: when one is killed, sends no heartbeat, or lets the others wait
    for longer than `timeout`, all processes end with a message that names it, instead
    of waiting for ever.

    Args:
        backend: `"ring"` (TCP), `"mpi"`, `"nccl"` or `"jaccl"`; by default the one that
            the launcher has prepared.
        timeout: seconds without a heartbeat, or without a step while others wait, after
            which a process counts as stalled; positive. The default is that of
            `launch --timeout`, or 300.

    Returns:
        The group: `rank`, in `[0, size)`, and `size`.

    Raises:
        ValueError: if `backend` is unknown, or `timeout` is not positive.
        RuntimeError: if the processes cannot connect, or the hosts file is invalid.

    Example:
        >>> from lucid_fn import distributed
        >>> group = distributed.init()
        >>> group.rank, group.size
        (0, 1)
    """
    if backend is not None:
        check_choice("distributed.init", "backend", backend, _LAUNCHER_VARIABLES)
    if timeout is not None:
        timeout = check_number("distributed.init", "timeout", timeout, above=0)
    chosen = backend or _find_launcher(os.environ)
    if chosen is None or not _find_launcher(os.environ, chosen) or _is_alone(chosen):
        return Group(0, 1)
    timeout = timeout or float(os.environ.get(TIMEOUT_VARIABLE, _DEFAULT_TIMEOUT))
    return _connect(chosen, timeout)


def _find_launcher(
    environ: Mapping[str, str], backend: str | None = None
) -> str | None:
    """The backend of the launcher that started this process, if any."""
    for name, variables in _LAUNCHER_VARIABLES.items():
        if backend in (None, name) and all(map(environ.get, variables)):
            return name
    return None


def _is_alone(backend: str) -> bool:
    """Whether the ring has a single process, for which MLX would fail to connect."""
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
def _connect(backend: str, timeout: float) -> Group:
    # Imported here, because a group of one needs no sockets and threads.
    from lucid_fn.distributed import connection, watchdog

    rendezvous = connection.rendezvous_from_env(os.environ)
    watch = None
    if rendezvous is not None:  # first, because waiting for the backend is unwatched
        watch = watchdog.start(*rendezvous, timeout=timeout)
    try:
        handle = _init_backend(backend)
    except RuntimeError as error:
        if watch is not None:
            watch.end_unconnected(error)
        raise
    rank, size = handle.rank(), handle.size()
    if size == 1:
        return Group(0, 1)
    if watch is None:
        share = partial(_broadcast_from_root, handle)
        rendezvous = connection.share_rendezvous(rank, size, share)
        watch = watchdog.start(*rendezvous, timeout=timeout)
    return Group(rank, size, backend, handle, watch)


def _init_backend(backend: str) -> Any:
    try:
        return mx.distributed.init(strict=True, backend=backend)
    except RuntimeError as error:
        raise RuntimeError(
            f"distributed.init: the backend {backend} did not connect: {error}; check "
            "that all processes run and reach the addresses in the hosts file"
        ) from error


def _broadcast_from_root(handle: Any, numbers: list[int]) -> list[int]:
    """The integers of rank 0, on every rank."""
    mine = mx.array(numbers, mx.int32) * (handle.rank() == 0)
    summed: Any = mx.distributed.all_sum(mine, group=handle).tolist()
    return list(summed)
