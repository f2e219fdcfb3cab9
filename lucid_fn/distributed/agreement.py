"""Messages among ranks beside collectives: to compare values, to stop together.

It goes through the watchdog's connection, so that ranks which differ can neither hang
nor damage each other. All ranks of a group have to call these functions in one order.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeGuard

from lucid_fn.distributed.group import Group


def is_distributed(group: Group | None) -> TypeGuard[Group]:
    """Whether the group has more than one process."""
    return group is not None and group.size > 1


def exchange(group: Group | None, what: str, value: Any) -> list[Any]:
    """The JSON values of all ranks, in their order; waits for all of them."""
    if group is None or group.watchdog is None:
        return [value]
    with group.watchdog.waiting(what):
        return group.watchdog.exchange(what, value)


def agree(group: Group | None, what: str, values: list[str]) -> None:
    """Raises `ValueError` on every rank unless all ranks give the same values."""
    given = exchange(group, what, values)
    for rank, other in enumerate(given):
        if other != given[0]:
            raise ValueError(_difference(what, given[0], other, rank))


def _difference(what: str, first: list[str], other: list[str], rank: int) -> str:
    pairs = zip([*first, "no more"], [*other, "no more"], strict=False)
    place, (ours, theirs) = next((i, p) for i, p in enumerate(pairs) if p[0] != p[1])
    return (
        f"{what}: all ranks must have the same, got in place {place} {ours} on rank 0 "
        f"and {theirs} on rank {rank}; give all ranks one script and one configuration"
    )


def waiting(group: Group | None, what: str) -> AbstractContextManager[None]:
    """Inside the block, the watchdog expects steps of this process."""
    if group is None or group.watchdog is None:
        return nullcontext()
    return group.watchdog.waiting(what)


def should_stop(group: Group | None, *, asked: bool) -> bool:
    """Between two steps: whether all ranks stop, a few after one was asked to.

    All have to call it after the same steps.
    """
    if group is None or group.watchdog is None:
        return asked
    return group.watchdog.should_stop(asked=asked)


def resume(group: Group | None) -> None:
    """Forgets that all have stopped."""
    if group is not None and group.watchdog is not None:
        group.watchdog.resume()
