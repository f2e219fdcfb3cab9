"""Batches of items that a data set makes one by one."""

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


class _Items(NamedTuple):
    """Makes a batch: what a worker process needs."""

    source: Any
    transform: Callable[..., Any] | None
    drawing: bool  # whether the transform takes a generator

    def make(self, order: BatchOrder, permutation: Any, batch: int) -> Any:
        rows = order.rows(batch, permutation)
        indices = range(rows.start, rows.stop) if isinstance(rows, slice) else rows
        numbers = [int(i) for i in indices]
        transform = self.transform
        if transform is not None and self.drawing:
            # A stream for each batch, whoever makes it and whenever.
            rank, ranks = order.shard
            stream = (batch, rank) if ranks > 1 else (batch,)
            seeds = np.random.SeedSequence(order.seed or (), spawn_key=stream)
            transform = partial(transform, rng=np.random.default_rng(seeds))
        return collate([self._item(i, transform) for i in numbers], numbers)

    def _item(self, index: int, transform: Callable[..., Any] | None) -> Any:
        try:
            item = self.source[index]
            return item if transform is None else transform(item)
        except StopIteration as error:  # it would end the batches in silence
            raise RuntimeError(f"loader: item {index} raised StopIteration") from error
        except Exception as error:
            error.add_note(f"in item {index}")
            raise


class Loader:
    """What `loader` returns: batches that can be iterated over again and again."""

    def __init__(self, items: _Items, order: BatchOrder, workers: int) -> None:
        self._items = items
        self._order = order
        self._count = workers
        self._workers: list[Workers] = []  # started when they are needed; shared

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Any]:
        return self.skip(0)

    def epoch(self, number: int) -> "Loader":
        """The batches of an epoch, in an order of its own, by the same workers.

        They are those of a loader with the seed `(*seed, number)`. `train.fit` takes
        this method as its `batches`.

        Args:
            number: the epoch, counted from 0.

        Raises:
            ValueError: if `number` is negative.
        """
        number = check_count("loader.epoch", "number", number, at_least=0)
        other = Loader(self._items, self._order, self._count)
        other._workers = self._workers
        if self._order.seed is not None:
            seed = (*self._order.seed, number)
            other._order = dataclasses.replace(self._order, seed=seed)
        return other

    def skip(self, count: int) -> Iterator[Any]:
        """The batches after the first `count`, of which no item is made.

        Args:
            count: how many batches to leave out, at least 0.
        """
        count = check_count("loader.skip", "count", count, at_least=0)
        for batch in self._worked(count) if self._count else self._made_here(count):
            arrays = tree.map(partial(from_numpy, "loader", "an item"), batch)
            yield started(arrays)

    def close(self) -> None:
        """Ends the worker processes; they are started again if they are needed."""
        while self._workers:
            self._workers.pop().stop()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _made_here(self, start: int) -> Iterator[Any]:
        permutation = self._order.permutation()
        for batch in range(start, len(self._order)):
            yield self._items.make(self._order, permutation, batch)

    def _worked(self, start: int) -> Iterator[Any]:
        if not self._workers:
            self._workers.append(Workers(self._items.make, self._count))
        workers = self._workers[0]
        run = workers.begin(self._order, start)
        for batch in range(start, len(self._order)):
            if workers.run != run:
                raise RuntimeError(
                    "loader: another iteration has begun, and its workers make one "
                    "epoch at a time; make a loader for each"
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
    """Batches of the items of a data set, made in worker processes if asked.

    The items of a batch are stacked to MLX arrays. Their order, and what a transform
    draws, is a function of the arguments alone: it does not depend on `workers`. With
    `loader.epoch` as the `batches` of `train.fit`, each epoch has an order of its own
    and the workers live through all of them:

        with data.loader(source, 64, seed=0, transform=decode, workers=2) as loader:
            ts, history = train.fit(ts, step, loader.epoch, epochs=10)

    Args:
        source: anything with `len(source)` and `source[i]`, such as a list, a data set
            of PyTorch or of Hugging Face. Items are trees, such as the pair `(image,
            label)`: dicts and tuples of NumPy arrays, numbers, lists of numbers, and
            tensors or images that `numpy.asarray` can read.
        batch_size: items in a batch, at least 1.
        seed: shuffles the items: a non-negative integer, or a tuple of such. `None`
            keeps their order.
        drop_last: whether to leave out a last batch of fewer than `batch_size` items.
        transform: function of an item to the item that is stacked. If it has a
            parameter `rng`, it is given a `numpy.random.Generator` to draw from, made
            from the seed and the number of the batch.
        workers: processes that make batches ahead of their use; 0 makes them here. Each
            gets a pickled copy of source and transform, so these must be defined in a
            module, not in a notebook, and a source of many files should hold their
            paths.
        shard: the pair `(rank, size)` of one of `size` processes that share the work;
            see `batches`. What a transform draws differs among them.

    Returns:
        An iterable with a `len`, `epoch(number)`, `skip(count)` and `close()`; also a
        context manager. Its items are trees of MLX arrays `(batch_size, ...)`. Python's
        ints become int32, its floats and float64 become float32.

    Raises:
        TypeError: if `source` has no length or items by index, or is a tuple of arrays,
            or an argument is of the wrong type; when iterated over, if source or
            transform cannot be pickled for the workers or imported by them, or an item
            holds something else than arrays and numbers.
        ValueError: if `source` is empty or an argument is out of range; when iterated
            over, if the items of a batch differ in structure or shape.
        RuntimeError: when iterated over, if a worker ended. What the source and the
            transform raise is raised here, with the index of the item.

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
                f"loader: source must have {name}, got {type(source).__name__}; of an "
                "iterable make a list, or give batches of your own to data.prefetch"
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
    drawing = False
    if transform is not None:
        check_function("loader", "transform", transform)
        drawing = _takes_generator(transform)
        check_parameters(
            "loader",
            "transform",
            transform,
            ("item",),
            ("rng",) if drawing else (),
            fix="a pair is one item: take it apart in the function",
        )
    if drawing and order.seed is None:
        raise ValueError(
            "loader: seed must be given for a transform that draws, got None"
        )
    workers = check_count("loader", "workers", workers, at_least=0, below=1024)
    items = _Items(source, transform, drawing)
    return Loader(items, order, workers)


def _takes_generator(transform: Callable[..., Any]) -> bool:
    signature = signature_of(transform)
    return signature is not None and "rng" in signature.parameters
