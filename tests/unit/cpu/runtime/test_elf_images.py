"""The reader of ELF images: tables by hand, and the library that is really there."""

import ctypes

import mlx.core as mx
import pytest

from lucid_fn.cpu.runtime import elf_images as images
from lucid_fn.cpu.runtime.errors import Unavailable
from lucid_fn.cpu.runtime.slots import mlx_slots
from tests.unit.cpu.runtime.elf import AARCH64, SIZE, SLOTS, X86_64, Elf, protection


@pytest.mark.parametrize("machine", [X86_64, AARCH64])
@pytest.mark.parametrize("relocated", [True, False], ids=["glibc", "musl"])
def test_the_slots_of_a_function_are_those_of_both_relocation_tables(
    machine, relocated
):
    found = Elf(machine, relocated=relocated).slots("cblas_sgemm", "spotrf_", "absent")
    expected = {"cblas_sgemm": [SLOTS, SLOTS + 16], "spotrf_": [SLOTS + 24]}
    assert found == {**expected, "absent": []}


@pytest.mark.parametrize(
    "ident", [b"MZ\x90\0\2\1", b"\x7fELF\1\1", b"\x7fELF\2\2"], ids=["PE", "32", "big"]
)
def test_what_is_not_64_bit_little_endian_elf_is_refused(ident):
    elf = Elf()
    elf.put(0, "<6s", ident)
    with pytest.raises(Unavailable, match="libtest is not a 64-bit little-endian ELF"):
        elf.image()


def test_program_headers_of_another_size_are_refused():
    elf = Elf()
    elf.put(54, "<H", 32)
    with pytest.raises(Unavailable, match="program headers of libtest have an unknown"):
        elf.image()


def test_program_headers_beyond_the_first_page_are_refused():
    elf = Elf()
    elf.put(32, "<Q", SIZE)
    with pytest.raises(Unavailable, match="program headers of libtest have an unknown"):
        elf.image()


def test_an_unknown_machine_is_refused():
    elf = Elf()
    elf.put(18, "<H", 243)  # RISC-V
    with pytest.raises(Unavailable, match="machine 243 is not x86-64 or AArch64"):
        elf.slots("cblas_sgemm")


def test_an_image_without_a_dynamic_section_is_refused():
    elf = Elf()
    elf.segment(1, 4, images.PF_R, 0, 0)
    with pytest.raises(Unavailable, match="libtest has no dynamic section"):
        elf.slots("cblas_sgemm")


@pytest.mark.parametrize("tag", [images.DT_STRTAB, images.DT_SYMTAB])
def test_a_missing_table_is_refused(tag):
    elf = Elf()
    del elf.tags[tag]
    with pytest.raises(Unavailable, match=f"libtest has no dynamic tag {tag}"):
        elf.slots("cblas_sgemm")


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (images.DT_RELAENT, 16),
        (images.DT_SYMENT, 16),
        (images.DT_PLTREL, 17),
    ],
)
def test_tables_of_another_form_are_refused(tag, value):
    elf = Elf()
    elf.tags[tag] = value
    with pytest.raises(Unavailable, match=f"dynamic tag {tag} of libtest is {value}"):
        elf.slots("cblas_sgemm")


@pytest.mark.parametrize("tag", [images.DT_STRSZ, images.DT_RELASZ, images.DT_PLTRELSZ])
def test_a_table_that_leaves_the_image_is_not_read(tag):
    elf = Elf()
    elf.tags[tag] = 1 << 40
    with pytest.raises(Unavailable, match="a table of libtest lies outside its image"):
        elf.slots("cblas_sgemm")


def test_a_symbol_outside_the_image_is_not_read():
    elf = Elf()
    elf.relocation(0x600, SLOTS, 1 << 30, images.SLOT_KINDS[X86_64][0])
    with pytest.raises(Unavailable, match="a table of libtest lies outside its image"):
        elf.slots("cblas_sgemm")


def test_a_slot_in_the_pages_that_the_linker_seals_is_sealed():
    elf = Elf()
    elf.segment(2, images.PT_GNU_RELRO, images.PF_R, 0, SIZE)
    assert images.is_sealed(elf.image(), elf.base + SLOTS)


def test_a_slot_in_a_page_that_is_to_be_sealed_in_part_is_open():
    elf = Elf()
    elf.segment(2, images.PT_GNU_RELRO, images.PF_R, 0, SIZE - 8)
    assert not images.is_sealed(elf.image(), elf.base + SLOTS)


@pytest.mark.parametrize("place", [SLOTS + 1, SIZE - 4, SIZE])
def test_a_slot_that_is_not_aligned_in_the_image_is_refused(place):
    elf = Elf()
    image = elf.image()
    with pytest.raises(Unavailable, match="a slot of libtest is not in a writable"):
        images.is_sealed(image, elf.base + place)


def test_a_slot_in_read_only_data_is_refused():
    elf = Elf()
    elf.segment(0, images.PT_LOAD, images.PF_R, 0, SIZE)
    with pytest.raises(Unavailable, match="a slot of libtest is not in a writable"):
        images.is_sealed(elf.image(), elf.base + SLOTS)


def test_the_linkers_list_has_the_library_it_was_asked_through():
    core = ctypes.CDLL(mx.__file__)
    assert mx.__file__ in [path for path, _ in images.loaded_images(core)]


def test_the_path_at_a_function_is_that_of_its_library():
    libm = ctypes.CDLL("libm.so.6")
    assert "libm" in images.path_at(ctypes.cast(libm.cos, ctypes.c_void_p).value)


def test_an_address_in_no_library_has_no_path():
    with pytest.raises(Unavailable, match="no library holds address 0x10"):
        images.path_at(0x10)


def test_every_library_in_the_linkers_list_is_mapped_at_its_base():
    core = ctypes.CDLL(mx.__file__)
    bases = {path: base for path, base in images.loaded_images(core) if ".so" in path}
    assert bases and all(map(images.is_mapped, bases.values()))


def test_nothing_is_mapped_at_the_first_pages():
    assert not images.is_mapped(0x1000)


@pytest.mark.parametrize("name", ["cblas_sgemm", "cblas_dgemm", "cblas_cgemm"])
def test_mlx_calls_each_matrix_product_through_one_slot_in_its_data(name):
    (slot,) = mlx_slots(frozenset({name}))
    assert slot.name == name
    assert protection(slot.address) == ("r--" if slot.sealed else "rw-")
