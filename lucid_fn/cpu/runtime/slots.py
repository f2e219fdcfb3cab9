"""Finds and rewrites the pointers through which MLX calls BLAS and LAPACK."""

import ctypes
import mmap
import os
from typing import NamedTuple

import mlx.core as mx

from lucid_fn.cpu.runtime import elf_images
from lucid_fn.cpu.runtime.errors import Unavailable

PROT_READ, PROT_WRITE = 1, 2  # <sys/mman.h>


class Slot(NamedTuple):
    """A pointer in MLX's library through which it calls the function `name`."""

    name: str
    address: int
    sealed: bool  # in read-only memory


def mlx_slots(names: frozenset[str]) -> list[Slot]:
    """The slots through which MLX calls `names`.

    Raises:
        Unavailable: if MLX's library is not laid out as expected.
    """
    core = str(mx.__file__)
    slots = []
    for path, base in elf_images.loaded_images(ctypes.CDLL(core)):
        # Wheels bring a libmlx.so; a build from source may have it all in `mlx.core`.
        if path == core or os.path.basename(path).startswith("libmlx.so"):
            if not elf_images.is_mapped(base):
                raise Unavailable(f"{path} does not start at its base address")
            image = elf_images.read_image(path, base)
            for name, addresses in elf_images.find_slots(image, names).items():
                slots += [
                    Slot(name, a, elf_images.is_sealed(image, a)) for a in addresses
                ]
    return slots


def read(slot: Slot) -> int:
    """The address of the function that `slot` points to."""
    return ctypes.c_uint64.from_address(slot.address).value


def write(slot: Slot, target: int) -> None:
    """Point `slot` at the function at `target`.

    The pointer is aligned and written by one store, so a thread that calls through it
    at the same time reaches either the old or the new function.

    Raises:
        Unavailable: if the kernel refuses to unseal its memory.
    """
    if slot.sealed:
        _protect(slot.address, PROT_READ | PROT_WRITE)
    ctypes.c_uint64.from_address(slot.address).value = target
    if slot.sealed:
        _protect(slot.address, PROT_READ)


def _protect(address: int, protection: int) -> None:
    """Set the protection of the memory page of `address`."""
    libc = ctypes.CDLL(None, use_errno=True)
    page = ctypes.c_void_p(address & -mmap.PAGESIZE)
    if libc.mprotect(page, ctypes.c_size_t(mmap.PAGESIZE), protection):
        reason = os.strerror(ctypes.get_errno())
        raise Unavailable(f"the kernel refuses to change MLX's call table: {reason}")
