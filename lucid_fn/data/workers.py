"""Worker processes that make batches.

Each of n workers has a copy of the data set and makes every n-th batch. It receives the
order once per epoch, and nothing else. Batches are sent back over a socket.
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
    """The batches to make, until another task arrives."""

    run: int  # the number of the task
    order: BatchOrder
    start: int  # the first batch, of whichever worker


class Result(NamedTuple):
    """A batch, or the error that prevented it."""

    run: int
    batch: Any = None
    error: BaseException | None = None


class Workers:
    """A pool of processes, which live until `stop` or until this object is deleted.

    Raises:
        TypeError: if `make` cannot be pickled, or imported by the processes.
    """

    def __init__(self, make: Make, count: int) -> None:
        if _is_defined_in_notebook(make):
            raise TypeError(
                "loader: source and transform must be defined in a module that workers "
                "can import, got definitions of a notebook or a prompt; move them to a "
                "file and import it, or give workers=0"
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
        """Send a task to all workers; return its number."""
        self.run += 1
        for channel in self._channels:
            with contextlib.suppress(OSError):  # it died: `receive` raises
                _send(channel, Task(self.run, order, start))
        return self.run

    def receive(self, batch: int) -> Any:
        """Wait for a batch of the latest task.

        Raises:
            RuntimeError: if the process that should make it has died.
            Exception: whatever the data set or the transform raised.
        """
        worker = batch % len(self._channels)
        made: Result | None = None
        while made is None or made.run != self.run:  # skip results of an earlier task
            try:
                made = _receive(self._channels[worker])
            except OSError:
                made = None
            if made is None:
                raise RuntimeError(_exit_error(self._processes[worker], worker, batch))
        if made.error is not None:
            raise made.error
        return made.batch


def _is_defined_in_notebook(make: Make) -> bool:
    """Whether `make` refers to a main module that workers cannot import."""
    if hasattr(sys.modules["__main__"], "__file__"):
        return False
    try:
        return b"__main__" in pickle.dumps(make)
    except Exception:  # `_start` explains what cannot be pickled
        return False


def _start(process: BaseProcess) -> None:
    try:
        process.start()
    except (TypeError, AttributeError, pickle.PicklingError) as error:
        raise TypeError(
            "loader: source and transform must be picklable, as they are pickled for "
            f"the workers, got an error ({error}); define their classes and functions "
            "in a module, not in a function or as a lambda, or give workers=0"
        ) from error


def _stop(channels: list[socket.socket], processes: list[BaseProcess]) -> None:
    for channel in channels:
        channel.close()
    for process in processes:
        process.terminate()  # without waiting for a long transform
    for process in processes:
        process.join()


def _exit_error(process: BaseProcess, worker: int, batch: int) -> str:
    process.join(5.0)
    return (
        f"loader: worker {worker} ended with exit code {process.exitcode} before it "
        f"had made batch {batch}. Its own error message, if any, is above; a negative "
        "code is a signal, and -9 often means out of memory. If it ended at once, put "
        "what your script runs under `if __name__ == '__main__':`"
    )


def _serve(channel: socket.socket, make: Make, worker: int, workers: int) -> None:
    """The main loop of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    # Sending fails when the parent has ended.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        while (task := _receive(channel)) is not None:
            permutation = task.order.permutation()
            first = task.start + (worker - task.start) % workers
            for batch in range(first, len(task.order), workers):
                if select.select([channel], [], [], 0)[0]:  # another task, or the end
                    break
                try:
                    made = Result(task.run, make(task.order, permutation, batch))
                except Exception as error:
                    _send(channel, Result(task.run, error=_picklable(error, worker)))
                    break
                _send(channel, made)


def _picklable(error: Exception, worker: int) -> Exception:
    """The error with its traceback as a note, or a picklable substitute for it."""
    lines = "".join(traceback.format_exception(error))
    error.add_note(f"in worker {worker}:\n{lines}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"loader: worker {worker} failed:\n{lines}")
    return error


def _send(channel: socket.socket, value: Any) -> None:
    """Send a pickled value, with the memory of its arrays out of band."""
    buffers: list[pickle.PickleBuffer] = []
    header = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(header), *(buffer.raw() for buffer in buffers)]
    channel.sendall(_LENGTH.pack(len(parts)))
    for part in parts:
        channel.sendall(_LENGTH.pack(part.nbytes))
        channel.sendall(part)


def _receive(channel: socket.socket) -> Any:
    """Receive a value; `None` if the other end is closed."""
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
