"""Processes that make batches.

Each has a copy of the data set, and makes every n-th batch: it is told the order once
an epoch, and nothing else. Batches come back over a socket, array by array.
"""

import contextlib
import multiprocessing
import pickle
import select
import signal
import socket
import struct
import sys
import traceback
import weakref
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

from lucid_fn.data.order import BatchOrder

Make = Callable[[BatchOrder, Any, int], Any]
_LENGTH = struct.Struct("<Q")


class Task(NamedTuple):
    """What a worker is to make until it is given another task."""

    run: int  # numbers the tasks
    order: BatchOrder
    start: int  # the first batch of all workers


class Made(NamedTuple):
    """A batch, or why there is none."""

    run: int
    batch: Any = None
    error: BaseException | None = None


class Workers:
    """Processes that are started once, and stopped with `stop` or with this object.

    Raises:
        TypeError: if what the processes need cannot be pickled, or imported by them.
    """

    def __init__(self, make: Make, count: int) -> None:
        if _is_of_a_notebook(make):
            raise TypeError(
                "loader: source and transform must be defined in a module, which the "
                "workers import, got what a notebook or a prompt defines; move them to "
                "a file and import it, or give workers=0"
            )
        context = multiprocessing.get_context("spawn")  # threads do not survive forks
        self._channels: list[socket.socket] = []
        self._processes: list[BaseProcess] = []
        self.run = 0
        self.stop = weakref.finalize(self, _stop, self._channels, self._processes)
        for worker in range(count):
            ours, theirs = socket.socketpair()
            process = context.Process(
                target=_serve, args=(theirs, make, worker, count), daemon=True
            )
            with theirs:
                self._channels.append(ours)
                _start(process)
            self._processes.append(process)

    def begin(self, order: BatchOrder, start: int) -> int:
        """Tells all workers what to make; returns the number of the task."""
        self.run += 1
        for channel in self._channels:
            with contextlib.suppress(OSError):  # it ended: told where its batch is due
                _send(channel, Task(self.run, order, start))
        return self.run

    def receive(self, batch: int) -> Any:
        """Waits for a batch of the latest task.

        Raises:
            RuntimeError: if the process that was to make it has ended.
            Exception: what the data set or the transform raised.
        """
        worker = batch % len(self._channels)
        made: Made | None = None
        while made is None or made.run != self.run:  # what is left of an earlier task
            try:
                made = _receive(self._channels[worker])
            except OSError:
                made = None
            if made is None:
                raise RuntimeError(_ended(self._processes[worker], worker, batch))
        if made.error is not None:
            raise made.error
        return made.batch


def _is_of_a_notebook(make: Make) -> bool:
    """Whether it refers to a main module that workers cannot import."""
    if hasattr(sys.modules["__main__"], "__file__"):
        return False
    try:
        return b"__main__" in pickle.dumps(make)
    except Exception:  # `_start` tells what cannot be pickled
        return False


def _start(process: BaseProcess) -> None:
    try:
        process.start()
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise TypeError(
            "loader: source and transform must be such that they can be pickled for "
            f"the workers, got what cannot ({error}); define their classes and "
            "functions in a module, not in a function or as a lambda, or give workers=0"
        ) from error


def _stop(channels: list[socket.socket], processes: list[BaseProcess]) -> None:
    for channel in channels:
        channel.close()
    for process in processes:
        process.terminate()  # it may be in the middle of a long transform
    for process in processes:
        process.join()


def _ended(process: BaseProcess, worker: int, batch: int) -> str:
    process.join(5.0)
    return (
        f"loader: worker {worker} ended with exit code {process.exitcode} before it "
        f"had made batch {batch}. Its own message is above, if it had one; a negative "
        "code is that of a signal, -9 often of too little memory. If it ended at once, "
        "put what your script runs below `if __name__ == '__main__':`"
    )


def _serve(channel: socket.socket, make: Make, worker: int, workers: int) -> None:
    """What a worker process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    # It ends with its parent, which then reads no more.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while (task := _receive(channel)) is not None:
            permutation = task.order.permutation()
            first = task.start + (worker - task.start) % workers
            for batch in range(first, len(task.order), workers):
                if select.select([channel], [], [], 0)[0]:  # another task, or the end
                    break
                try:
                    made = Made(task.run, make(task.order, permutation, batch))
                except Exception as error:
                    _send(channel, Made(task.run, error=_portable(error, worker)))
                    break
                _send(channel, made)


def _portable(error: Exception, worker: int) -> Exception:
    """The error as it can be sent, with the lines it came from."""
    lines = "".join(traceback.format_exception(error))
    error.add_note(f"in worker {worker}:\n{lines}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"loader: worker {worker} failed:\n{lines}")
    return error


def _send(channel: socket.socket, value: Any) -> None:
    """A value, and the memory of its arrays as it is."""
    buffers: list[pickle.PickleBuffer] = []
    header = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(header), *(buffer.raw() for buffer in buffers)]
    channel.sendall(_LENGTH.pack(len(parts)))
    for part in parts:
        channel.sendall(_LENGTH.pack(part.nbytes))
        channel.sendall(part)


def _receive(channel: socket.socket) -> Any:
    """A value; `None` if the other end is closed."""
    prefix = _read(channel, _LENGTH.size)
    if prefix is None:
        return None
    parts = []
    for _ in range(_LENGTH.unpack(prefix)[0]):
        size = _read(channel, _LENGTH.size)
        part = None if size is None else _read(channel, _LENGTH.unpack(size)[0])
        if part is None:
            return None
        parts.append(part)
    return pickle.loads(parts[0], buffers=parts[1:])


def _read(channel: socket.socket, size: int) -> bytearray | None:
    data = bytearray(size)
    view, done = memoryview(data), 0
    while done < size:
        count = channel.recv_into(view[done:])
        if not count:
            return None
        done += count
    return data
