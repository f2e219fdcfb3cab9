"""Tuning glibc's malloc, and leaving any other one alone."""

import shutil
import subprocess

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


MALLOC = r"""
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
static char *next, *end;
void *malloc(size_t n) {
    size_t need = (n + 31) & ~(size_t)15;
    if (!next || next + need > end) {
        size_t span = need > (1u << 28) ? need : 1u << 28;
        int mode = PROT_READ | PROT_WRITE, kind = MAP_PRIVATE | MAP_ANONYMOUS;
        next = mmap(0, span, mode, kind, -1, 0);
        end = next + span;
    }
    char *block = __atomic_fetch_add(&next, need, __ATOMIC_RELAXED);
    *(size_t *)block = n;
    return block + 16;
}
void free(void *block) {}
void *calloc(size_t n, size_t m) { return malloc(n * m); }
void *realloc(void *old, size_t n) {
    void *block = malloc(n);
    if (old) {
        size_t had = *(size_t *)((char *)old - 16);
        memcpy(block, old, had < n ? had : n);
    }
    return block;
}
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


def test_a_malloc_that_is_not_glibcs_is_left_alone(tmp_path, run):
    """A library loaded before all others brings a malloc that never frees."""
    compiler = shutil.which("gcc") or pytest.skip("needs gcc")
    source, library = tmp_path / "malloc.c", tmp_path / "malloc.so"
    source.write_text(MALLOC)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O2", str(source), "-o", str(library)],
        check=True,
    )
    code = "import lucid_fn; print(lucid_fn.runtime.start().problems)"
    output = run(code, "-W", "ignore", LD_PRELOAD=str(library))
    assert "malloc is another library's, not glibc's" in output


def test_a_setting_that_glibc_refuses_is_reported(monkeypatch):
    monkeypatch.setattr(allocator, "SETTINGS", {1: 1 << 20})  # M_MXFAST, too large
    with pytest.raises(Unavailable, match="glibc refuses a setting of mallopt"):
        allocator.tune()
