"""Tuning glibc's malloc, and leaving any other one alone."""

import ctypes

import pytest

from lucid_fn.runtime import allocator
from lucid_fn.runtime.errors import Unavailable

PAGE_FAULTS = """
import resource, threading
import mlx.core as mx
import lucid_fn
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def work():
    x = mx.zeros((12 << 20,))  # 48 MiB
    for _ in range(3):
        mx.eval(x + 1)
    before = faults()
    for _ in range(5):
        mx.eval(x + 1)
    print(faults() - before)
{call}
"""


@pytest.mark.parametrize(
    "call",
    ["work()", "t = threading.Thread(target=work); t.start(); t.join()"],
    ids=["main thread", "another thread"],
)
def test_large_arrays_are_made_in_memory_that_was_kept(run, call):
    pages = 48 * 2**20 // 4096
    assert int(run(PAGE_FAULTS.format(call=call))) < pages


def test_large_arrays_are_mapped_anew_where_the_allocator_is_left_alone(run):
    pages = 48 * 2**20 // 4096
    output = run(PAGE_FAULTS.format(call="work()"), LUCID_FN_MALLOC="none")
    assert int(output) >= 4 * pages


def test_a_c_library_that_is_not_glibc_is_left_alone(monkeypatch):
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda name: object())
    with pytest.raises(Unavailable, match="the C library is not glibc"):
        allocator.tune()


def test_a_malloc_that_is_not_glibcs_is_left_alone(monkeypatch):
    def image_at(address):
        names = ctypes.CDLL(None)
        malloc = ctypes.cast(names.malloc, ctypes.c_void_p).value
        return ("/lib/libjemalloc.so.2" if address == malloc else "/lib/libc.so.6", 0)

    monkeypatch.setattr(allocator, "image_at", image_at)
    with pytest.raises(Unavailable, match=r"malloc is that of libjemalloc\.so\.2, not"):
        allocator.tune()


def test_a_setting_that_glibc_refuses_is_reported(monkeypatch):
    monkeypatch.setattr(allocator, "SETTINGS", {1: 1 << 20})  # M_MXFAST, too large
    with pytest.raises(Unavailable, match="glibc refuses a setting of mallopt"):
        allocator.tune()
