"""Batches made on a thread while the last ones are used."""

import threading
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import check_count

T = TypeVar("T")


class _End(NamedTuple):
    """The last thing in the queue."""

    error: BaseException | None = None


class Prefetched(Generic[T]):
    """What `prefetch` returns: each iteration over it has a thread of its own."""

    def __init__(self, iterable: Iterable[T], size: int) -> None:
        self._iterable = iterable
        self._size = size

    def __len__(self) -> int:
        return len(self._iterable)  # type: ignore[arg-type]  # as of what it wraps: a TypeError where that has none

    def __iter__(self) -> Iterator[T]:
        ready: SimpleQueue[Any] = SimpleQueue()
        room = threading.Semaphore(self._size)
        stop = threading.Event()
        thread = threading.Thread(
            target=_produce, args=(self._iterable, ready, room, stop), daemon=True
        )
        thread.start()
        try:
            while not isinstance(item := ready.get(), _End):
                room.release()
                yield item
            if item.error is not None:
                raise item.error
        finally:
            stop.set()
            room.release()  # wakes the thread if it waits for room
            thread.join()


def prefetch(iterable: Iterable[T], size: int = 2) -> Prefetched[T]:
    """The items of `iterable`, made ahead of their use on a background thread.

    Worth it where making a batch takes long, as when images are decoded or augmented
    with NumPy. The thread runs while the result is iterated over and ends with that,
    also after a `break` or an error; it is waited for, which takes as long as the item
    it is making. Items made and not taken by then are lost: iterate over an iterable
    such as `batches(...)` rather than a shared iterator.

    Args:
        iterable: what to iterate over, such as `batches(...)` or a generator. It runs
            on the thread, so that MLX arrays which it uses must have been computed;
            those in its items are computed there.
        size: how many items may wait to be taken, at least 1.

    Returns:
        An iterable of the same items in the same order, with the same `len` if
        `iterable` has one. An error in `iterable` is raised where the item is taken.

    Raises:
        TypeError: if `iterable` cannot be iterated over, or `size` is not an integer.
        ValueError: if `size` is below 1.

    Example:
        >>> from lucid_fn import data
        >>> list(data.prefetch(x * x for x in range(4)))
        [0, 1, 4, 9]
    """
    if not hasattr(iterable, "__iter__"):
        raise TypeError(
            f"prefetch: iterable must be iterable, got {type(iterable).__name__}; "
            "call a generator function before giving its result"
        )
    return Prefetched(iterable, check_count("prefetch", "size", size, at_least=1))


def _produce(
    iterable: Iterable[Any],
    ready: SimpleQueue[Any],
    room: threading.Semaphore,
    stop: threading.Event,
) -> None:
    """Puts items into `ready` while there is `room`, then an `_End`."""
    try:
        room.acquire()
        for item in iterable:
            # What is lazy is bound to the thread that made it: MLX refuses to compute
            # it on another. This costs nothing for arrays that come from NumPy.
            mx.eval([x for x in tree.leaves(item) if isinstance(x, mx.array)])
            ready.put(item)
            room.acquire()
            if stop.is_set():
                return
    except BaseException as error:  # it belongs to the consumer, whatever it is
        if "no Stream" in str(error):
            error.add_note(
                "prefetch: the items use an MLX array that was not computed before; "
                "make it inside of the iterable, or give it to mx.eval first"
            )
        ready.put(_End(error))
    else:
        ready.put(_End())
