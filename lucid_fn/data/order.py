"""The order of the rows of a data set, and their division into batches."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid_fn.checks import check_bool, check_count

Seed = int | tuple[int, ...]


@dataclass(frozen=True)
class BatchOrder:
    """The assignment of rows to batches, determined by these fields alone."""

    length: int  # rows
    batch_size: int
    seed: tuple[int, ...] | None  # shuffles the rows; `None` keeps their order
    drop_last: bool
    shard: tuple[int, int] = (0, 1)  # rank and number of processes that share a batch

    @property
    def end(self) -> int:
        """The number of rows that are used."""
        rest = self.length % self.batch_size
        return self.length - rest if self.drop_last else self.length

    def __len__(self) -> int:
        whole, rest = divmod(self.end, self.batch_size)
        # Fewer rows than ranks are no batch of their own: they join the one before.
        return whole + (rest >= self.shard[1])

    def permutation(self) -> NDArray[np.intp] | None:
        """The shuffled rows; `None` without a seed."""
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
    """Check the arguments of `batches` or `loader` and make the order of the rows.

    Raises:
        TypeError: if `batch_size` or `seed` is not an integer, or `shard` not a pair.
        ValueError: if an argument is out of range, or no batch would be left.
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
