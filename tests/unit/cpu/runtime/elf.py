"""Builds ELF images in memory, whole and spoilt, for the tests of the linker."""

import ctypes
import struct
from pathlib import Path
from typing import Any

from lucid_fn.cpu.runtime import elf_images

X86_64, AARCH64 = 62, 183
SIZE, DYNAMIC, STRINGS, SYMBOLS = 0x1000, 0x200, 0x400, 0x500
RELOCATIONS, PLT_RELOCATIONS, SLOTS = 0x600, 0x700, 0x800
NAMES = b"\0cblas_sgemm\0spotrf_\0other\0"


class Elf:
    """A page that looks like a loaded library which calls `cblas_sgemm` and others.

    `sgemm` has a slot of each kind (in the two relocation tables), `spotrf_` one, and a
    relocation of `cblas_sgemm` of another kind (a pointer in data) is no slot.
    """

    def __init__(self, machine: int = X86_64, *, relocated: bool = True) -> None:
        self.buffer = ctypes.create_string_buffer(2 * SIZE)
        start = ctypes.addressof(self.buffer)
        self.base = -(-start // SIZE) * SIZE
        glob_dat, jump_slot = elf_images.SLOT_KINDS[machine]
        shift = self.base if relocated else 0  # glibc adds the base in place, musl not
        self.put(0, "<16sHHIQQQIHHH", b"\x7fELF\x02\x01", 3, machine, 1, 0, 64, 0, 0,
                 64, 56, 3)  # fmt: skip
        self.segment(0, elf_images.PT_LOAD, elf_images.PF_R | elf_images.PF_W, 0, SIZE)
        self.segment(1, elf_images.PT_DYNAMIC, elf_images.PF_R, DYNAMIC, 16 * 16)
        self.segment(2, elf_images.PT_GNU_RELRO, elf_images.PF_R, 0, 0)
        self.tags = {
            elf_images.DT_STRTAB: shift + STRINGS,
            elf_images.DT_STRSZ: len(NAMES),
            elf_images.DT_SYMTAB: shift + SYMBOLS,
            elf_images.DT_SYMENT: 24,
            elf_images.DT_RELA: shift + RELOCATIONS,
            elf_images.DT_RELASZ: 2 * 24,
            elf_images.DT_RELAENT: 24,
            elf_images.DT_JMPREL: shift + PLT_RELOCATIONS,
            elf_images.DT_PLTRELSZ: 3 * 24,
            elf_images.DT_PLTREL: elf_images.DT_RELA,
        }
        self.put(STRINGS, f"<{len(NAMES)}s", NAMES)
        for number, name in ((1, b"cblas_sgemm"), (2, b"spotrf_"), (3, b"other")):
            self.put(SYMBOLS + 24 * number, "<I", NAMES.index(name))
        self.relocation(RELOCATIONS, SLOTS, 1, glob_dat)
        self.relocation(RELOCATIONS + 24, SLOTS + 8, 1, 5)
        self.relocation(PLT_RELOCATIONS, SLOTS + 16, 1, jump_slot)
        self.relocation(PLT_RELOCATIONS + 24, SLOTS + 24, 2, jump_slot)
        self.relocation(PLT_RELOCATIONS + 48, SLOTS + 32, 3, jump_slot)

    def put(self, offset: int, form: str, *values: Any) -> None:
        start = self.base - ctypes.addressof(self.buffer)
        struct.pack_into(form, self.buffer, start + offset, *values)

    def segment(
        self, number: int, kind: int, flags: int, start: int, size: int
    ) -> None:
        place = 64 + 56 * number
        self.put(place, "<IIQQQQQQ", kind, flags, start, start, start, size, size, 8)

    def relocation(self, place: int, slot: int, symbol: int, kind: int) -> None:
        self.put(place, "<QQq", slot, symbol << 32 | kind, 0)

    def image(self) -> elf_images.Image:
        """The image as the linker's reader sees it."""
        for number, item in enumerate(self.tags.items()):
            self.put(DYNAMIC + 16 * number, "<qQ", *item)
        return elf_images.read_image("libtest", self.base)

    def slots(self, *names: str) -> dict[str, list[int]]:
        """Offsets of the slots that `find_slots` finds."""
        found = elf_images.find_slots(self.image(), frozenset(names))
        return {n: sorted(a - self.base for a in places) for n, places in found.items()}


def protection(address: int) -> str:
    """What may be done with the memory at `address`, such as `r--`."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, flags = line.split()[:2]
        start, end = (int(part, 16) for part in span.split("-"))
        if start <= address < end:
            return flags[:3]
    raise AssertionError("not mapped")
