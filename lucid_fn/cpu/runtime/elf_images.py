"""Reads the ELF images in memory to find the pointers through which a library calls.

A shared library calls functions of others through *slots*: pointers in its global
offset table, which the dynamic linker fills in. Its relocation tables, which the linker
has mapped into memory, say which slot belongs to which function. Only addresses inside
the image's own segments are read.

Source: System V ABI, chapters 4 and 5 (https://refspecs.linuxfoundation.org/elf/gabi4+/),
and its supplements for x86-64 (table 4.9) and AArch64 (section 5.7.11).
"""

import ctypes
import mmap
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from lucid_fn.cpu.runtime.errors import Unavailable

# Program headers: kinds and flags
PT_LOAD, PT_DYNAMIC, PT_GNU_RELRO = 1, 2, 0x6474E552
PF_W, PF_R = 2, 4
# Tags of the dynamic section
DT_PLTRELSZ, DT_STRTAB, DT_SYMTAB, DT_RELA, DT_RELASZ = 2, 5, 6, 7, 8
DT_RELAENT, DT_STRSZ, DT_SYMENT, DT_PLTREL, DT_JMPREL = 9, 10, 11, 20, 23
# By machine, the kinds of relocation that put a function's address into a slot
SLOT_KINDS = {62: (6, 7), 183: (1025, 1026)}  # x86-64, AArch64: GLOB_DAT, JUMP_SLOT

HEADER, SEGMENT = struct.Struct("<16sHHIQQQIHHH"), struct.Struct("<IIQQQQQQ")
TAG, RELOCATION, SYMBOL = map(struct.Struct, ("<qQ", "<QQq", "<IBBHQQ"))
RTLD_DI_LINKMAP = 2  # <dlfcn.h>


class Segment(NamedTuple):
    """A part of an image in memory: `start <= address < end`."""

    kind: int
    flags: int
    start: int
    end: int


class Image(NamedTuple):
    """A library in memory."""

    path: str
    base: int  # offset between addresses in the file and in memory
    machine: int
    segments: tuple[Segment, ...]


class _LinkMap(ctypes.Structure):
    """`struct link_map` of <link.h>: an entry in the linker's list of images."""


_LinkMap._fields_ = [
    ("base", ctypes.c_void_p),
    ("path", ctypes.c_char_p),
    ("dynamic", ctypes.c_void_p),
    ("next", ctypes.POINTER(_LinkMap)),
    ("previous", ctypes.POINTER(_LinkMap)),
]


class _SymbolInfo(ctypes.Structure):
    """`Dl_info` of <dlfcn.h>: the image and the function at an address."""

    _fields_ = (
        ("path", ctypes.c_char_p),
        ("start", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def loaded_images(library: ctypes.CDLL) -> list[tuple[str, int]]:
    """Path and base of each loaded image, found through `library`."""
    entry = ctypes.POINTER(_LinkMap)()
    handle = ctypes.c_void_p(library._handle)
    if ctypes.CDLL(None).dlinfo(handle, RTLD_DI_LINKMAP, ctypes.byref(entry)):
        raise Unavailable("the dynamic linker does not list the loaded libraries")
    while entry.contents.previous:
        entry = entry.contents.previous
    images = []
    while entry:
        path = os.fsdecode(entry.contents.path or b"")
        images.append((path, entry.contents.base or 0))
        entry = entry.contents.next
    return images


def path_at(address: int) -> str:
    """Path of the image that holds the function at `address`."""
    info = _SymbolInfo()
    if not ctypes.CDLL(None).dladdr(ctypes.c_void_p(address), ctypes.byref(info)):
        raise Unavailable(f"no library holds address {address:#x}")
    return os.fsdecode(info.path or b"")


def is_mapped(start: int) -> bool:
    """Whether a memory mapping starts at the address `start`."""
    try:
        with open("/proc/self/maps", encoding="utf-8") as lines:
            return any(line.startswith(f"{start:08x}-") for line in lines)
    except OSError as error:
        raise Unavailable(f"/proc/self/maps cannot be read: {error}") from None


def read_image(path: str, base: int) -> Image:
    """The image that starts at `base`.

    Raises:
        Unavailable: if it is not 64-bit little-endian ELF.
    """
    header = HEADER.unpack(ctypes.string_at(base, HEADER.size))
    ident, _, machine, _, _, offset, _, _, _, entry_size, count = header
    if ident[:6] != b"\x7fELF\x02\x01":
        raise Unavailable(f"{path} is not a 64-bit little-endian ELF image")
    size = count * SEGMENT.size
    # Only the first page is known to be mapped.
    if entry_size != SEGMENT.size or offset + size > mmap.PAGESIZE:
        raise Unavailable(f"the program headers of {path} have an unknown form")
    table = ctypes.string_at(base + offset, size)
    segments = tuple(
        Segment(kind, flags, base + start, base + start + length)
        for kind, flags, _, start, _, _, length, _ in SEGMENT.iter_unpack(table)
    )
    return Image(path, base, machine, segments)


def find_slots(image: Image, names: frozenset[str]) -> dict[str, list[int]]:
    """The addresses of the slots through which `image` calls each of `names`.

    Raises:
        Unavailable: if a table is missing, of an unknown form, or outside the image.
    """
    kinds = SLOT_KINDS.get(image.machine)
    if kinds is None:
        raise Unavailable(f"ELF machine {image.machine} is not x86-64 or AArch64")
    tags = _dynamic_tags(image)
    sizes = {DT_RELAENT: RELOCATION.size, DT_SYMENT: SYMBOL.size, DT_PLTREL: DT_RELA}
    for tag, expected in sizes.items():
        if tags.get(tag, expected) != expected:
            raise Unavailable(f"dynamic tag {tag} of {image.path} is {tags[tag]}")
    places = dict(_relocations(image, tags, kinds))
    entry_size = SYMBOL.size
    count = 1 + max(places.values(), default=0)
    symbols = _read(image, _address(image, tags, DT_SYMTAB), count * entry_size)
    strings = _table(image, tags, DT_STRTAB, DT_STRSZ)
    slots: dict[str, list[int]] = {name: [] for name in names}
    for place, symbol in places.items():
        start = SYMBOL.unpack_from(symbols, symbol * entry_size)[0]
        name = strings[start : strings.find(b"\0", start)].decode("latin-1")
        if name in slots:
            slots[name].append(place)
    return slots


def _relocations(
    image: Image, tags: dict[int, int], kinds: tuple[int, ...]
) -> Iterator[tuple[int, int]]:
    """Slot address and symbol number of each relocation of one of `kinds`."""
    for table, size in ((DT_JMPREL, DT_PLTRELSZ), (DT_RELA, DT_RELASZ)):
        if table in tags:
            entries = _table(image, tags, table, size)
            whole = len(entries) // RELOCATION.size * RELOCATION.size
            for offset, info, _ in RELOCATION.iter_unpack(entries[:whole]):
                if info & 0xFFFFFFFF in kinds:
                    yield image.base + offset, info >> 32


def is_sealed(image: Image, slot: int) -> bool:
    """Whether the linker has made the page of `slot` read-only (RELRO).

    Raises:
        Unavailable: if `slot` is not aligned, or not in a writable segment.
    """
    writable = any(
        s.kind == PT_LOAD and s.flags & PF_W and s.start <= slot <= s.end - 8
        for s in image.segments
    )
    if slot % 8 or not writable:
        raise Unavailable(f"a slot of {image.path} is not in a writable segment")
    page = -mmap.PAGESIZE  # whole pages only, both ends rounded down
    return any(
        s.kind == PT_GNU_RELRO and s.start & page <= slot < s.end & page
        for s in image.segments
    )


def _dynamic_tags(image: Image) -> dict[int, int]:
    """The entries of the dynamic section."""
    for segment in image.segments:
        if segment.kind == PT_DYNAMIC:
            size = (segment.end - segment.start) // TAG.size * TAG.size
            section = _read(image, segment.start, size)
            return {tag: value for tag, value in TAG.iter_unpack(section) if tag}
    raise Unavailable(f"{image.path} has no dynamic section")


def _address(image: Image, tags: dict[int, int], tag: int) -> int:
    """The address in `tag`, to which glibc has added the base, and musl has not."""
    if tag not in tags:
        raise Unavailable(f"{image.path} has no dynamic tag {tag}")
    return tags[tag] if tags[tag] >= image.base else image.base + tags[tag]


def _table(image: Image, tags: dict[int, int], tag: int, size: int) -> bytes:
    """The table with its address in the tag `tag` and its size in the tag `size`."""
    return _read(image, _address(image, tags, tag), tags.get(size, 0))


def _read(image: Image, address: int, size: int) -> bytes:
    """`size` bytes from `address`, which must lie in one readable segment."""
    for s in image.segments:
        inside = s.start <= address and address + size <= s.end
        if inside and s.kind == PT_LOAD and s.flags & PF_R:
            return ctypes.string_at(address, size)
    raise Unavailable(f"a table of {image.path} lies outside its image")
