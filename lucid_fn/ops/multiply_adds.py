"""Counts the multiply-adds of operations, for the FLOPs of `nn.summary`."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from lucid_fn.context import holding

# Set inside the block of `counting`.
_counts: ContextVar[list[int] | None] = ContextVar("counts", default=None)


@contextmanager
def counting() -> Iterator[list[int]]:
    """Collects the multiply-adds of each operation called inside the block."""
    counts: list[int] = []
    with holding(_counts, counts):
        yield counts


def count_multiply_adds(number: int) -> None:
    """Records the multiply-adds of an operation, if they are being counted."""
    counts = _counts.get()
    if counts is not None:
        counts.append(number)
