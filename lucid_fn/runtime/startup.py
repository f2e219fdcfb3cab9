"""Starts what makes MLX fast on a Linux CPU."""

import functools
import os
import sys
import warnings
from typing import NamedTuple

import mlx.core as mx

from lucid_fn.runtime import allocator, blas
from lucid_fn.runtime.cores import physical_cores


class Status(NamedTuple):
    """What `start` did to this process."""

    blas: str | None  # file of the BLAS that MLX calls now; None if left alone
    slots: int  # functions of MLX's library that lead there
    blas_threads: int  # threads of one call of that BLAS, 0 if unknown
    allocator: bool  # whether glibc's allocator was tuned
    notes: tuple[str, ...]  # what was left alone, and why


@functools.cache
def start() -> Status:
    """Gives MLX an optimised BLAS and tunes the allocator; once a process."""
    if sys.platform != "linux" or mx.default_device() != mx.Device(mx.cpu):
        return Status(None, 0, 0, False, ("nothing to do on this device",))
    notes = []
    path, slots, threads = None, 0, 0
    choice = os.environ.get("LUCID_FN_BLAS", "")
    if choice == "none":
        notes.append("LUCID_FN_BLAS=none")
    else:
        try:
            library, slots = blas.redirect(choice or None)
            path = library.path
            threads = blas.set_threads(library, physical_cores())
        except blas.Unavailable as error:
            notes.append(str(error))
            warnings.warn(f"lucid_fn: {error}", RuntimeWarning, stacklevel=2)
    tuned = os.environ.get("LUCID_FN_MALLOC") != "none" and allocator.tune()
    return Status(path, slots, threads, tuned, tuple(notes))


def set_blas_threads(threads: int) -> int:
    """Sets how many threads one call of the BLAS uses, unless the user has said so.

    Returns:
        The number in force; 0 if MLX's BLAS was left alone or is not an OpenBLAS.
    """
    path = start().blas
    return 0 if path is None else blas.set_threads(blas.load(path), threads)
