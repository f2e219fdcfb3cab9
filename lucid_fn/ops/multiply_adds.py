"""Counts the multiply-adds of operations, for the FLOPs of `nn.summary`."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from lucid_fn.context import holding

# Set inside the block of `counting` only, and seen by its own thread only.
_counts: ContextVar[list[int] | None] = ContextVar("counts", default=None)


@contextmanager
def counting() -> Iterator[list[int]]:
    """The number of products of each operation called inside the block."""
    counts: list[int] = []
    with holding(_counts, counts):
        yield counts


def count_multiply_adds(number: int) -> None:
    """Notes that an operation adds up this many products."""
    counts = _counts.get()
    if counts is not None:
        counts.append(number)
