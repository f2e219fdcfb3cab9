"""In which order the rows of a data set come, and which of them make a batch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid_fn.checks import check_bool, check_count

Seed = int | tuple[int, ...]


@dataclass(frozen=True)
class BatchOrder:
    """Which rows are in which batch: a function of these fields alone."""

    length: int  # rows
    batch_size: int
    seed: tuple[int, ...] | None  # shuffles the rows; `None` keeps their order
    drop_last: bool
    shard: tuple[int, int] = (0, 1)  # rank and number of those who share each batch

    @property
    def end(self) -> int:
        """The number of rows that are in a batch."""
        rest = self.length % self.batch_size
        return self.length - rest if self.drop_last else self.length

    def __len__(self) -> int:
        whole, rest = divmod(self.end, self.batch_size)
        # Less than a row for each rank makes no batch: it joins the one before.
        return whole + (rest >= self.shard[1])

    def permutation(self) -> NDArray[np.intp] | None:
        """The rows in their order; `None` if they keep it."""
        if self.seed is None:
            return None
        return np.random.default_rng(self.seed).permutation(self.length)

    def rows(
        self, batch: int, permutation: NDArray[np.intp] | None
    ) -> slice | NDArray[np.intp]:
        """The rows of a batch, counted from 0, that are this rank's."""
        start = batch * self.batch_size
        size = (self.end if batch == len(self) - 1 else start + self.batch_size) - start
        rank, ranks = self.shard
        rows = slice(start + size * rank // ranks, start + size * (rank + 1) // ranks)
        return rows if permutation is None else permutation[rows]


def check_order(
    caller: str,
    length: int,
    batch_size: Any,
    seed: Any,
    drop_last: bool,
    shard: Any,
) -> BatchOrder:
    """The order of `length` rows, as the user asked for it.

    Raises:
        TypeError: if `batch_size` or `seed` is not an integer, or `shard` no pair.
        ValueError: if `batch_size` is below 1, `seed` is negative, no batch would be
            left, or `shard` is not a rank and a size that a batch can be divided by.
    """
    check_bool(caller, drop_last=drop_last)
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
    shard = _check_shard(caller, shard, min(batch_size, length))
    return BatchOrder(length, batch_size, seed, drop_last, shard)


def _check_shard(caller: str, shard: Any, rows: int) -> tuple[int, int]:
    if shard is None:
        return 0, 1
    if not isinstance(shard, tuple | list) or len(shard) != 2:
        raise TypeError(
            f"{caller}: shard must be a pair (rank, size), such as (group.rank, "
            f"group.size), got {shard!r}"
        )
    size = check_count(caller, "the size of shard", shard[1])
    rank = check_count(caller, "the rank of shard", shard[0], at_least=0, below=size)
    if size > rows:
        raise ValueError(
            f"{caller}: shard must have at most as many ranks as a batch has rows, "
            f"{rows}, got {size}; use a larger batch or fewer ranks"
        )
    return rank, size
