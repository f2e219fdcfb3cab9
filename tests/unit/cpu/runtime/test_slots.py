"""Rewriting slots, sealed ones too, in a library that the test compiles."""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest

from lucid_fn.cpu.runtime import elf_images, slots
from lucid_fn.cpu.runtime.errors import Unavailable
from tests.unit.cpu.runtime.elf import protection

CALLER = "int answer(void); int ask(void) { return answer(); }"
ANSWER = "int answer(void) { return 1; } int better(void) { return 42; }"


@pytest.fixture(params=["now", "lazy"])
def libraries(request, tmp_path) -> tuple[ctypes.CDLL, ctypes.CDLL, Path]:
    """A library that calls another one through a slot, sealed (`now`) or open."""
    compiler = shutil.which("gcc") or pytest.skip("needs gcc")

    def build(name: str, source: str, *flags: str) -> Path:
        path = tmp_path / f"lib{name}.so"
        (tmp_path / f"{name}.c").write_text(source)
        command = [compiler, "-shared", "-fPIC", str(tmp_path / f"{name}.c")]
        subprocess.run([*command, "-o", str(path), *flags], check=True)
        return path

    answer = build("answer", ANSWER)
    link = ("-Wl,-z,relro", f"-Wl,-z,{request.param}", "-Wl,--no-as-needed")
    caller = build("caller", CALLER, str(answer), *link)
    return ctypes.CDLL(str(caller)), ctypes.CDLL(str(answer)), caller


def find(caller: ctypes.CDLL, path: Path) -> slots.Slot:
    base = dict(elf_images.loaded_images(caller))[str(path)]
    image = elf_images.read_image(str(path), base)
    (address,) = elf_images.find_slots(image, frozenset({"answer"}))["answer"]
    return slots.Slot("answer", address, elf_images.is_sealed(image, address))


def test_a_call_goes_where_its_slot_was_made_to_lead(libraries):
    caller, answer, path = libraries
    slot = find(caller, path)
    slots.write(slot, ctypes.cast(answer.better, ctypes.c_void_p).value)
    assert caller.ask() == 42


def test_a_slot_put_back_leads_where_it_led(libraries):
    caller, answer, path = libraries
    slot = find(caller, path)
    before = slots.read(slot)
    slots.write(slot, ctypes.cast(answer.better, ctypes.c_void_p).value)
    slots.write(slot, before)
    assert caller.ask() == 1


def test_writing_leaves_the_memory_as_protected_as_it_was(libraries):
    caller, answer, path = libraries
    slot = find(caller, path)
    before = protection(slot.address)
    slots.write(slot, ctypes.cast(answer.better, ctypes.c_void_p).value)
    assert protection(slot.address) == before == ("r--" if slot.sealed else "rw-")


def test_a_library_bound_at_load_time_has_sealed_slots(libraries, request):
    caller, _, path = libraries
    assert find(caller, path).sealed == ("now" in request.node.name)


def test_a_refusal_of_the_kernel_is_reported():
    slot = slots.Slot("cblas_sgemm", 8, sealed=True)  # page 0 is never mapped
    with pytest.raises(Unavailable, match="the kernel refuses to change MLX's call"):
        slots.write(slot, 0)
