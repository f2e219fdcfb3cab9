"""Checks that the file of a compiled kernel is complete and holds the named kernel.

Source: System V ABI, chapter 4 (https://refspecs.linuxfoundation.org/elf/gabi4+/), and
`mlx/backend/cpu/compiled.cpp` of MLX 0.32 for the names.
"""

import ctypes
import functools
import struct
import sys
from pathlib import Path

# Longer kernel names are clipped, and the rest is hashed, to make file names.
_MAX_NAME, _CLIPPED = 245, 229
_SEED = 0xC70F6907  # of std::hash


def damage(path: Path) -> str:
    """What is wrong with the file of a kernel; empty if it is intact."""
    data = path.read_bytes()
    if not data:
        return "is empty"
    own = _own_header()
    if data[:7] != own[:7] or data[18:20] != own[18:20]:
        return "is not a library for this machine"
    # The linker writes the section headers last.
    start = int.from_bytes(data[40:48], sys.byteorder)
    size, number = struct.unpack_from("=HH", data.ljust(64, b"\0"), 58)
    if len(data) < max(64, start + size * number) or not any(data[start:]):
        return "is cut short"
    stem = path.name.removeprefix("lib").removesuffix(".so")
    prefix = b"\0" + stem[:_CLIPPED].encode()  # in the string table of symbols
    names = (prefix + rest.partition(b"\0")[0] for rest in data.split(prefix)[1:])
    if all(_stem(name[1:]) != stem for name in names):
        return "holds another kernel"
    return ""


def _stem(kernel: bytes) -> str:
    """The name of a kernel's file, without `lib` and `.so`."""
    if len(kernel) <= _MAX_NAME:
        return kernel.decode(errors="replace")
    hashed = ctypes.CDLL("libstdc++.so.6")._ZSt11_Hash_bytesPKvmm  # std::hash
    hashed.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t)
    hashed.restype = ctypes.c_size_t
    rest = kernel[_CLIPPED:]
    return f"{kernel[:_CLIPPED].decode()}_{hashed(rest, len(rest), _SEED):>16x}"


@functools.cache
def _own_header() -> bytes:
    """The first bytes of the ELF header of this program, which name the machine."""
    with open("/proc/self/exe", "rb") as file:
        return file.read(20)
