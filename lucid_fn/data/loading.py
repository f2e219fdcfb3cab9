"""Batches of the items of a map-style data set, made in worker processes if asked."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lucid_fn import tree
from lucid_fn.checks import (
    check_count,
    check_function,
    check_parameters,
    listed,
    signature_of,
)
from lucid_fn.data.collating import collate
from lucid_fn.data.order import BatchOrder, Seed, check_order
from lucid_fn.data.workers import Workers
from lucid_fn.numpy_arrays import from_numpy
from lucid_fn.tracing import started


class _BatchMaker(NamedTuple):
    """Makes batches; a worker process has a copy."""

    source: Any
    transform: Callable[..., Any] | None
    takes_rng: bool  # whether the transform has a parameter `rng`

    def make(self, order: BatchOrder, permutation: Any, batch: int) -> Any:
        rows = order.rows(batch, permutation)
        indices = range(rows.start, rows.stop) if isinstance(rows, slice) else rows
        items = [int(i) for i in indices]
        transform = self.transform
        if transform is not None and self.takes_rng:
            # A stream of random numbers per batch, whichever process makes it.
            rank, ranks = order.shard
            stream = (batch, rank) if ranks > 1 else (batch,)
            seeds = np.random.SeedSequence(order.seed or (), spawn_key=stream)
            transform = partial(transform, rng=np.random.default_rng(seeds))
        return collate([self._item(i, transform) for i in items], items)

    def _item(self, index: int, transform: Callable[..., Any] | None) -> Any:
        try:
            item = self.source[index]
            return item if transform is None else transform(item)
        except StopIteration as error:  # it would silently end the iteration
            raise RuntimeError(f"loader: item {index} raised StopIteration") from error
        except Exception as error:
            error.add_note(f"in item {index}")
            raise


class Loader:
    """The iterable that `loader` returns; it has a length and can be reused."""

    def __init__(self, maker: _BatchMaker, order: BatchOrder, workers: int) -> None:
        self._maker = maker
        self._order = order
        self._count = workers
        self._workers: list[Workers] = []  # started lazily; shared by `epoch`

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Any]:
        return self.skip(0)

    def epoch(self, number: int) -> "Loader":
        """The batches of an epoch, in its own order, made by the same workers.

        The order is that of a loader with the seed `(*seed, number)`. `train.fit` takes
        this method as its `batches`.

        Args:
            number: the epoch, counted from 0.

        Raises:
            ValueError: if `number` is negative.
        """
        number = check_count("loader.epoch", "number", number, at_least=0)
        other = Loader(self._maker, self._order, self._count)
        other._workers = self._workers
        if self._order.seed is not None:
            seed = (*self._order.seed, number)
            other._order = dataclasses.replace(self._order, seed=seed)
        return other

    def skip(self, count: int) -> Iterator[Any]:
        """The batches after the first `count`, whose items are not made.

        Args:
            count: the number of batches to skip, at least 0.
        """
        count = check_count("loader.skip", "count", count, at_least=0)
        batches = self._from_workers if self._count else self._in_process
        for batch in batches(count):
            arrays = tree.map(partial(from_numpy, "loader", "an item"), batch)
            yield started(arrays)

    def close(self) -> None:
        """Stop the worker processes; another iteration starts them again."""
        while self._workers:
            self._workers.pop().stop()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _in_process(self, start: int) -> Iterator[Any]:
        permutation = self._order.permutation()
        for batch in range(start, len(self._order)):
            yield self._maker.make(self._order, permutation, batch)

    def _from_workers(self, start: int) -> Iterator[Any]:
        if not self._workers:
            self._workers.append(Workers(self._maker.make, self._count))
        workers = self._workers[0]
        run = workers.begin(self._order, start)
        for batch in range(start, len(self._order)):
            if workers.run != run:
                raise RuntimeError(
                    "loader: another iteration has begun, and the workers serve one at "
                    "a time; make a loader for each"
                )
            try:
                made = workers.receive(batch)
            except RuntimeError:
                self.close()
                raise
            yield made


def loader(
    source: Any,
    batch_size: int,
    *,
    seed: Seed | None = None,
    drop_last: bool = False,
    transform: Callable[..., Any] | None = None,
    workers: int = 0,
    shard: tuple[int, int] | None = None,
) -> Loader:
    """Load batches from a map-style data set, in worker processes if asked.

    The items of a batch are stacked into MLX arrays. Their order, and the random
    numbers of a transform, depend on the arguments alone, but not on `workers`. With
    `loader.epoch` as the `batches` of `train.fit`, each epoch has its own order, and
    the workers live through all of them:

        with data.loader(source, 64, seed=0, transform=decode, workers=2) as loader:
            ts, history = train.fit(ts, step, loader.epoch, epochs=10)

    Args:
        source: anything with `len(source)` and `source[i]`, such as a list, or a data
            set of PyTorch or Hugging Face. Items are trees, such as the pair `(image,
            label)`: dicts and tuples of NumPy arrays, numbers, lists of numbers, and
            tensors or images that `numpy.asarray` can read.
        batch_size: items per batch, at least 1.
        seed: shuffles the items: a non-negative integer or a tuple of them. `None`
            keeps their order.
        drop_last: whether to leave out a last batch of fewer than `batch_size` items.
        transform: function applied to each item before stacking. If it has a parameter
            `rng`, it gets a `numpy.random.Generator`, seeded by the seed and the number
            of the batch.
        workers: number of processes that make batches ahead of their use; with 0 they
            are made in this process. Each worker gets a pickled copy of source and
            transform, so these must be defined in a module, not in a notebook, and a
            source of many files should hold their paths.
        shard: `(rank, size)` of one of `size` processes that share the work; see
            `batches`. A transform draws other random numbers in each of them.

    Returns:
        An iterable with a `len`, `epoch(number)`, `skip(count)` and `close()`; also a
        context manager. Its items are trees of MLX arrays `(batch_size, ...)`. Python's
        ints become int32, its floats and float64 become float32.

    Raises:
        TypeError: if `source` has no length or no items by index, or is a tuple of
            arrays, or an argument is of the wrong type. During iteration, if source or
            transform cannot be pickled for the workers or imported by them, or an item
            holds anything other than arrays and numbers.
        ValueError: if `source` is empty or an argument is out of range. During
            iteration, if the items of a batch differ in structure or shape.
        RuntimeError: during iteration, if a worker died. Errors of the source and the
            transform are raised as they are, with a note that names the item.

    Example:
        >>> import numpy as np
        >>> from lucid_fn import data
        >>> source = [(np.full((2, 2), i, np.uint8), i % 2) for i in range(5)]
        >>> for x, labels in data.loader(source, 2, seed=1):
        ...     print(x.shape, labels.tolist())
        (2, 2, 2) [0, 0]
        (2, 2, 2) [1, 0]
        (1, 2, 2) [1]
    """
    for name in ("__len__", "__getitem__"):
        if not hasattr(source, name):
            raise TypeError(
                f"loader: source must have {name}, got {type(source).__name__}; make "
                "a list of an iterable, or pass batches of your own to data.prefetch"
            )
    if isinstance(source, Mapping):
        raise TypeError(
            f"loader: source must have items by index, got {type(source).__name__} of "
            f"{listed(map(repr, source))}; give one of its values"
        )
    if isinstance(source, tuple) and all(hasattr(part, "shape") for part in source):
        raise TypeError(
            f"loader: source must be one data set, got a tuple of {len(source)} "
            "arrays; give them to data.batches, or list(zip(*arrays))"
        )
    if not len(source):
        raise ValueError("loader: source must have at least one item, got none")
    order = check_order("loader", len(source), batch_size, seed, drop_last, shard)
    takes_rng = False
    if transform is not None:
        check_function("loader", "transform", transform)
        takes_rng = _takes_rng(transform)
        check_parameters(
            "loader",
            "transform",
            transform,
            ("item",),
            ("rng",) if takes_rng else (),
            fix="a pair is one item: unpack it in the function",
        )
    if takes_rng and order.seed is None:
        raise ValueError(
            "loader: seed must be given for a transform with rng, got None"
        )
    workers = check_count("loader", "workers", workers, at_least=0, below=1024)
    return Loader(_BatchMaker(source, transform, takes_rng), order, workers)


def _takes_rng(transform: Callable[..., Any]) -> bool:
    signature = signature_of(transform)
    return signature is not None and "rng" in signature.parameters
