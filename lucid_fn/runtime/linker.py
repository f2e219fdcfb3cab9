"""Reads the ELF images that the dynamic linker has loaded: where a library's calls go.

A shared library calls a function of another one through a *slot*: a pointer in its
global offset table that the dynamic linker fills in. The slot of a function is found
from the library's relocation tables, here read from memory, where the linker has put
them. Every address is checked to lie in the image before it is read.

Source: System V ABI, chapters 4 and 5 (https://refspecs.linuxfoundation.org/elf/gabi4+/),
and its supplements for x86-64 (table 4.9) and AArch64 (section 5.7.11).
"""

import ctypes
import mmap
import os
import struct
from typing import NamedTuple

# Program header types and flags
PT_LOAD, PT_DYNAMIC, PT_GNU_RELRO = 1, 2, 0x6474E552
PF_W, PF_R = 2, 4
# Tags of the dynamic section
DT_NULL, DT_PLTRELSZ, DT_STRTAB, DT_SYMTAB, DT_RELA, DT_RELASZ = 0, 2, 5, 6, 7, 8
DT_RELAENT, DT_STRSZ, DT_SYMENT, DT_PLTREL, DT_JMPREL = 9, 10, 11, 20, 23
# Machine number -> relocation types that fill a slot with a function's address
SLOT_TYPES = {62: (6, 7), 183: (1025, 1026)}  # x86-64, AArch64: GLOB_DAT, JUMP_SLOT

EHDR, PHDR, DYN = struct.Struct("<16sHHIQQQIHHH"), struct.Struct("<IIQQQQQQ"), "<qQ"
RELA, SYM = struct.Struct("<QQq"), struct.Struct("<IBBHQQ")
RTLD_DI_LINKMAP = 2


class LayoutError(Exception):
    """An image is not laid out as the ABI says, or as this reader understands."""


class Segment(NamedTuple):
    """A piece of an image in memory, `start <= address < end`."""

    kind: int
    flags: int
    start: int
    end: int


class Image(NamedTuple):
    """A shared library in memory."""

    path: str
    base: int  # what the linker added to the file's addresses
    machine: int
    segments: tuple[Segment, ...]


class _LinkMap(ctypes.Structure):
    """`struct link_map` of <link.h>: one entry of the linker's list of images."""


_LinkMap._fields_ = [
    ("address", ctypes.c_void_p),
    ("name", ctypes.c_char_p),
    ("dynamic", ctypes.c_void_p),
    ("next", ctypes.POINTER(_LinkMap)),
    ("previous", ctypes.POINTER(_LinkMap)),
]


class _DlInfo(ctypes.Structure):
    """`Dl_info` of <dlfcn.h>: the image and the symbol that hold an address."""

    _fields_ = (
        ("path", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def loaded_images(library: ctypes.CDLL) -> list[tuple[str, int]]:
    """Path and base address of every image in the linker's list with `library`."""
    entry = ctypes.POINTER(_LinkMap)()
    handle = ctypes.c_void_p(library._handle)
    if ctypes.CDLL(None).dlinfo(handle, RTLD_DI_LINKMAP, ctypes.byref(entry)):
        raise LayoutError("the dynamic linker does not tell what it has loaded")
    while entry.contents.previous:
        entry = entry.contents.previous
    images = []
    while entry:
        name = entry.contents.name or b""
        images.append((os.fsdecode(name), entry.contents.address or 0))
        entry = entry.contents.next
    return images


def image_of(address: int) -> tuple[str, int]:
    """Path and first address of the image in memory that holds `address`."""
    info = _DlInfo()
    if not ctypes.CDLL(None).dladdr(ctypes.c_void_p(address), ctypes.byref(info)):
        raise LayoutError("an address lies in no loaded library")
    return os.fsdecode(info.path or b""), info.base or 0


def read_image(path: str, base: int) -> Image:
    """The image that the linker loaded at `base`, its headers checked.

    Raises:
        LayoutError: if there is none, or it is not 64-bit little-endian ELF.
    """
    if image_of(base)[1] != base:
        raise LayoutError(f"{path} does not start at its base address")
    header = ctypes.string_at(base, EHDR.size)
    ident, _, machine, _, _, phoff, _, _, _, phentsize, phnum = EHDR.unpack(header)
    if ident[:4] != b"\x7fELF" or ident[4:6] != b"\x02\x01":
        raise LayoutError(f"{path} is not a 64-bit little-endian ELF image")
    size = phnum * PHDR.size
    if phentsize != PHDR.size or phoff + size > mmap.PAGESIZE:  # the page surely there
        raise LayoutError(f"{path} has program headers of an unknown form")
    table = ctypes.string_at(base + phoff, size)
    segments = tuple(
        Segment(kind, flags, base + vaddr, base + vaddr + memsz)
        for kind, flags, _, vaddr, _, _, memsz, _ in PHDR.iter_unpack(table)
    )
    return Image(path, base, machine, segments)


def find_slots(image: Image, names: frozenset[str]) -> dict[str, list[int]]:
    """Addresses of the slots through which `image` calls each of `names`.

    Raises:
        LayoutError: if a table is missing, of an unknown form, or outside the image.
    """
    slot_types = SLOT_TYPES.get(image.machine)
    if slot_types is None:
        raise LayoutError(f"ELF machine {image.machine} is neither x86-64 nor AArch64")
    tags = _dynamic(image)
    for tag, expected in ((DT_RELAENT, RELA.size), (DT_SYMENT, SYM.size)):
        if tags.get(tag, expected) != expected:
            raise LayoutError(f"dynamic tag {tag} is {tags[tag]}, not {expected}")
    if tags.get(DT_PLTREL, DT_RELA) != DT_RELA:
        raise LayoutError("relocations have no addends")
    strings = _read(image, _address(image, tags, DT_STRTAB), tags.get(DT_STRSZ, 0))
    symbols = _address(image, tags, DT_SYMTAB)
    slots: dict[str, list[int]] = {name: [] for name in names}
    for table, size in ((DT_JMPREL, DT_PLTRELSZ), (DT_RELA, DT_RELASZ)):
        if table not in tags:
            continue
        entries = _read(image, _address(image, tags, table), tags.get(size, 0))
        for offset, info, _ in RELA.iter_unpack(entries):
            if info & 0xFFFFFFFF not in slot_types:
                continue
            symbol = _read(image, symbols + (info >> 32) * SYM.size, SYM.size)
            start = SYM.unpack(symbol)[0]
            name = strings[start : strings.find(b"\0", start)].decode(
                "ascii", "replace"
            )
            if name in slots:
                slots[name].append(image.base + offset)
    return slots


def is_sealed(image: Image, address: int) -> bool:
    """Whether the linker has made the slot at `address` read-only (RELRO).

    Raises:
        LayoutError: if `address` is not an aligned place in a writable segment.
    """
    if address % 8 or not any(
        s.kind == PT_LOAD and s.flags & PF_W and s.start <= address <= s.end - 8
        for s in image.segments
    ):
        raise LayoutError("a slot is not in a writable segment")
    page = -mmap.PAGESIZE  # the linker seals whole pages only
    return any(
        s.kind == PT_GNU_RELRO and s.start & page <= address < s.end & page
        for s in image.segments
    )


def _dynamic(image: Image) -> dict[int, int]:
    """The tags and values of the image's dynamic section."""
    for segment in image.segments:
        if segment.kind == PT_DYNAMIC:
            section = _read(image, segment.start, segment.end - segment.start)
            return dict(struct.iter_unpack(DYN, section[: len(section) // 16 * 16]))
    raise LayoutError("there is no dynamic section")


def _address(image: Image, tags: dict[int, int], tag: int) -> int:
    """The address in memory that `tag` holds: glibc adds the base there, musl not."""
    value = tags.get(tag)
    if value is None:
        raise LayoutError(f"dynamic tag {tag} is missing")
    return value if value >= image.base else image.base + value


def _read(image: Image, address: int, size: int) -> bytes:
    """`size` bytes at `address`, all inside one readable segment of the image."""
    for s in image.segments:
        inside = s.start <= address and address + size <= s.end
        if s.kind == PT_LOAD and s.flags & PF_R and inside:
            return ctypes.string_at(address, size)
    raise LayoutError("a table lies outside the image")
