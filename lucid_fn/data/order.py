"""In which order the rows of a data set come, and which of them make a batch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid_fn.checks import check_count

Seed = int | tuple[int, ...]


@dataclass(frozen=True)
class BatchOrder:
    """Which rows are in which batch: a function of these fields alone."""

    length: int  # rows
    batch_size: int
    seed: tuple[int, ...] | None  # shuffles the rows; `None` keeps their order
    drop_last: bool

    @property
    def end(self) -> int:
        """The number of rows that are in a batch."""
        rest = self.length % self.batch_size
        return self.length - rest if self.drop_last else self.length

    def __len__(self) -> int:
        return -(-self.end // self.batch_size)

    def permutation(self) -> NDArray[np.intp] | None:
        """The rows in their order; `None` if they keep it."""
        if self.seed is None:
            return None
        return np.random.default_rng(self.seed).permutation(self.length)

    def rows(
        self, batch: int, permutation: NDArray[np.intp] | None
    ) -> slice | NDArray[np.intp]:
        """The rows of a batch, counted from 0."""
        start = batch * self.batch_size
        rows = slice(start, min(start + self.batch_size, self.end))
        return rows if permutation is None else permutation[rows]


def check_order(
    caller: str, length: int, batch_size: Any, seed: Any, drop_last: bool
) -> BatchOrder:
    """The order of `length` rows, as the user asked for it.

    Raises:
        TypeError: if `batch_size` or `seed` is not an integer.
        ValueError: if `batch_size` is below 1, `seed` is negative, or no batch would be
            left.
    """
    batch_size = check_count(caller, "batch_size", batch_size, at_least=1)
    if drop_last and batch_size > length:
        raise ValueError(
            f"{caller}: batch_size must be at most {length}, the number of rows, with "
            f"drop_last=True, got {batch_size}: no batch would be left"
        )
    if seed is not None:
        parts = seed if isinstance(seed, tuple) else (seed,)
        kind = "an integer, a tuple of integers, or None to keep the order"
        seed = tuple(
            check_count(caller, "seed", part, at_least=0, below=None, kinds=kind)
            for part in parts
        )
    return BatchOrder(length, batch_size, seed, drop_last)
