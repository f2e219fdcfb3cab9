"""Control messages between ranks: comparing values, and stopping together.

They use the watchdog's TCP connection instead of the backend, so that ranks that
disagree neither hang nor corrupt each other's data. All ranks of a group must call
these functions in the same order.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeGuard

from lucid_fn.distributed.group import Group


def is_distributed(group: Group | None) -> TypeGuard[Group]:
    """Whether the group has more than one process."""
    return group is not None and group.size > 1


def exchange(group: Group | None, what: str, value: Any) -> list[Any]:
    """Gathers a JSON value from each rank, in rank order; waits for all ranks."""
    if group is None or group.watchdog is None:
        return [value]
    with group.watchdog.waiting(what):
        return group.watchdog.exchange(what, value)


def agree(group: Group | None, what: str, values: list[str]) -> None:
    """Raises `ValueError` on every rank unless all ranks pass the same values."""
    gathered = exchange(group, what, values)
    for rank, other in enumerate(gathered):
        if other != gathered[0]:
            raise ValueError(_difference(what, gathered[0], other, rank))


def _difference(what: str, first: list[str], other: list[str], rank: int) -> str:
    pairs = zip([*first, "no more"], [*other, "no more"], strict=False)
    place, (ours, theirs) = next((i, p) for i, p in enumerate(pairs) if p[0] != p[1])
    return (
        f"{what}: all ranks must have the same, got in place {place} {ours} on rank 0 "
        f"and {theirs} on rank {rank}; use the same script and configuration on all "
        "ranks"
    )


def waiting(group: Group | None, what: str) -> AbstractContextManager[None]:
    """Marks the block as an operation that other ranks wait for."""
    if group is None or group.watchdog is None:
        return nullcontext()
    return group.watchdog.waiting(what)


def should_stop(group: Group | None, *, asked: bool) -> bool:
    """Whether all ranks stop after this step, because one was asked to.

    To be called between steps, after the same steps on all ranks. They stop a few steps
    after the request.
    """
    if group is None or group.watchdog is None:
        return asked
    return group.watchdog.should_stop(asked=asked)


def resume(group: Group | None) -> None:
    """Clears a stop, so that training can continue."""
    if group is not None and group.watchdog is not None:
        group.watchdog.resume()
