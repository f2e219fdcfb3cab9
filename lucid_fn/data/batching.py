"""Batches of arrays."""

from collections.abc import Iterator
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lucid_fn import tree
from lucid_fn.checks import check_count
from lucid_fn.data.order import BatchOrder, Seed, check_order
from lucid_fn.numpy_arrays import check_numpy, from_numpy
from lucid_fn.tracing import started
from lucid_fn.types import Tree


class Batches:
    """The iterable that `batches` returns; it has a length and can be reused."""

    def __init__(self, arrays: Tree, order: BatchOrder) -> None:
        self._leaves, self._structure = tree.flatten(arrays)
        # Compute lazy arrays once, not again in each thread that prefetches.
        lazy = [leaf for leaf in self._leaves if isinstance(leaf, mx.array)]
        mx.async_eval(lazy)  # type: ignore[no-untyped-call]  # untyped in MLX's stubs
        self._order = order

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Any]:
        return self.skip(0)

    def skip(self, count: int) -> Iterator[Any]:
        """The batches after the first `count`, whose rows are not read.

        Args:
            count: the number of batches to skip, at least 0.
        """
        count = check_count("batches.skip", "count", count, at_least=0)
        permutation = self._order.permutation()
        for i in range(count, len(self._order)):
            rows = self._order.rows(i, permutation)
            batch = [_take(leaf, rows) for leaf in self._leaves]
            yield started(tree.unflatten(self._structure, batch))


def batches(
    arrays: Tree,
    batch_size: int,
    *,
    seed: Seed | None = None,
    drop_last: bool = False,
    shard: tuple[int, int] | None = None,
) -> Batches:
    """Split arrays of equal length into batches of MLX arrays.

    The order depends on the arguments alone, so it is the same in each iteration. For a
    different order in each epoch, put the epoch into the seed:

        for epoch in range(epochs):
            for x, labels in data.batches((images, all_labels), 64, seed=(0, epoch)):
                ...

    Args:
        arrays: a tree, such as a tuple or a dict, of NumPy or MLX arrays of the same
            length `N > 0` along the first axis. NumPy arrays may have any memory
            layout: reversed or strided views, memory maps, the other byte order.
        batch_size: rows per batch, at least 1.
        seed: shuffles the rows: a non-negative integer or a tuple of them. `None` keeps
            their order, as for testing.
        drop_last: whether to leave out a last batch of fewer than `batch_size` rows.
        shard: `(rank, size)` of one of `size` processes that share the work, such as
            `(group.rank, group.size)`. Each batch of `batch_size` rows is divided among
            them, so that together they see the batches of a single process, in the same
            order for any `size`, and all have the same number of batches. If fewer than
            `size` rows are left for the last batch, they join the one before.

    Returns:
        An iterable with a `len`. Its items are trees like `arrays`, whose leaves are
        MLX arrays `(batch_size, ...)`, or `(batch_size / size, ...)` with a shard; the
        last may be shorter. Dtypes are kept, except that float64 becomes float32.

    Raises:
        TypeError: if a leaf of `arrays` is not an array of numbers, if `batch_size` or
            `seed` is not an integer, or `shard` is not a pair of integers.
        ValueError: if there is no array; if lengths differ or are 0; if `batch_size` is
            below 1 or below the size of `shard`; if `seed` is negative; if the rank of
            `shard` is not in `[0, size)`; or if no batch would be left.

    Example:
        >>> import numpy as np
        >>> from lucid_fn import data
        >>> x, labels = np.zeros((5, 28, 28, 1), np.float32), np.arange(5)
        >>> [y.tolist() for _, y in data.batches((x, labels), 2)]
        [[0, 1], [2, 3], [4]]
        >>> shuffled = data.batches((x, labels), 2, seed=1, drop_last=True)
        >>> [y.tolist() for _, y in shuffled]
        [[4, 0], [1, 2]]
        >>> [y.tolist() for _, y in data.batches((x, labels), 5, shard=(1, 2))]
        [[2, 3, 4]]
    """
    length = _common_length(arrays)
    order = check_order("batches", length, batch_size, seed, drop_last, shard)
    return Batches(arrays, order)


def _take(array: NDArray[Any] | mx.array, rows: slice | NDArray[np.intp]) -> mx.array:
    if isinstance(array, mx.array):
        return array[rows if isinstance(rows, slice) else mx.array(rows)]
    return from_numpy("batches", "arrays", array[rows])


def _common_length(arrays: Tree) -> int:
    leaves, paths = tree.leaves(arrays), tree.paths(arrays)
    if not leaves:
        raise ValueError(f"batches: arrays must hold an array, got {arrays!r}")
    for path, leaf in zip(paths, leaves, strict=True):
        name = f"arrays.{path}" if path else "arrays"
        if not isinstance(leaf, mx.array):
            check_numpy("batches", name, leaf)
        if leaf.ndim == 0 or len(leaf) == 0:
            raise ValueError(
                f"batches: {name} must have at least one row, got shape {leaf.shape}"
            )
        if len(leaf) != len(leaves[0]):
            raise ValueError(
                "batches: arrays must be equally long, got "
                f"{len(leaves[0])} rows in arrays.{paths[0]} and {len(leaf)} in {name}"
            )
    return len(leaves[0])
