"""Make batches ahead of their use on a background thread."""

import threading
from collections.abc import Iterable, Iterator
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import check_count

T = TypeVar("T")


class _End(NamedTuple):
    """The last entry of the queue, with the error of the iterable if it raised one."""

    error: BaseException | None = None


class Prefetched(Generic[T]):
    """The iterable that `prefetch` returns; each iteration has its own thread."""

    def __init__(self, iterable: Iterable[T], size: int) -> None:
        self._iterable = iterable
        self._size = size

    def __len__(self) -> int:
        return len(self._iterable)  # type: ignore[arg-type]  # a TypeError without it

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
    """Make the items of `iterable` ahead of their use on a background thread.

    This helps where making a batch takes long, such as decoding or augmenting images
    with NumPy. The thread lives as long as the iteration, which waits at its end, also
    after a `break` or an error, until the item in progress is made. Items that were
    made but not used are lost, so pass an iterable such as `batches(...)` rather than a
    shared iterator.

    Args:
        iterable: what to iterate over, such as `batches(...)` or a generator. It runs
            on the thread, so lazy MLX arrays that it uses must be evaluated first; the
            arrays in its items are evaluated on the thread.
        size: the maximum number of items made ahead, at least 1.

    Returns:
        An iterable of the same items in the same order, with the same `len` if
        `iterable` has one. An error in `iterable` is raised when its item is due.

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
            "call a generator function and pass its result"
        )
    return Prefetched(iterable, check_count("prefetch", "size", size, at_least=1))


def _produce(
    iterable: Iterable[Any],
    ready: SimpleQueue[Any],
    room: threading.Semaphore,
    stop: threading.Event,
) -> None:
    """Put items into `ready` while there is `room`, then an `_End`."""
    try:
        room.acquire()
        for item in iterable:
            # MLX evaluates a lazy array only on the thread that made it. This costs
            # nothing for arrays that come from NumPy.
            mx.eval([x for x in tree.leaves(item) if isinstance(x, mx.array)])
            ready.put(item)
            room.acquire()
            if stop.is_set():
                return
    except BaseException as error:  # raised again in the consumer
        if "no Stream" in str(error):
            error.add_note(
                "prefetch: the items use an MLX array that was not evaluated before; "
                "make it inside the iterable, or call mx.eval on it first"
            )
        ready.put(_End(error))
    else:
        ready.put(_End())
