"""Tuning glibc's malloc, and leaving any other one alone."""

import shutil
import subprocess
from pathlib import Path
from unittest import mock

import pytest

from lucid_fn.cpu.runtime import allocator
from lucid_fn.cpu.runtime.errors import Unavailable

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


HUGE_PAGES = """
import re
from pathlib import Path
import mlx.core as mx
import lucid_fn
kept = mx.ones((12 << 20,))  # 48 MiB
mx.eval(kept)
mappings = re.split(r"\\n(?=[0-9a-f]+-)", Path("/proc/self/smaps").read_text())
advised = [m for m in mappings if "hg" in re.search("VmFlags:(.*)", m)[1].split()]
resident = sum(int(re.search(r"Rss: +(\\d+)", m)[1]) for m in advised)
print(resident > 40_000)
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


needs_huge_pages = pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists()
    or Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2",
    reason="needs a kernel with huge pages, and memory that may be asked for",
)


@needs_huge_pages
@pytest.mark.parametrize("choice", ["", "none"])
def test_large_arrays_are_asked_for_in_huge_pages(choice, run):
    assert run(HUGE_PAGES, LUCID_FN_MALLOC=choice) == str(choice == "")


@pytest.mark.parametrize(("mode", "asks"), [("0", True), ("1", True), ("2", False)])
def test_no_memory_is_asked_for_where_all_that_is_counts(
    monkeypatch, tmp_path, mode, asks
):
    overcommit = tmp_path / "overcommit_memory"
    overcommit.write_text(f"{mode}\n")
    monkeypatch.setattr(allocator, "_OVERCOMMIT", overcommit)
    libc = mock.Mock()
    libc.malloc.return_value = None  # refused
    allocator._use_huge_pages(libc)
    assert libc.malloc.called == asks
    assert not libc.madvise.called and not libc.free.called


def test_a_limit_on_memory_leaves_the_pages_as_they_are(run):
    code = """
import resource
_, hard = resource.getrlimit(resource.RLIMIT_DATA)
resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, hard))
import lucid_fn
import mlx.core as mx
print(lucid_fn.cpu.runtime.start().allocator, mx.sum(mx.ones((1 << 20,))).item())
"""
    assert run(code) == "True 1048576.0"


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
    code = "import lucid_fn; print(lucid_fn.cpu.runtime.start().problems)"
    output = run(code, "-W", "ignore", LD_PRELOAD=str(library))
    assert "malloc is another library's, not glibc's" in output


def test_a_setting_that_glibc_refuses_is_reported(monkeypatch):
    monkeypatch.setattr(allocator, "SETTINGS", {1: 1 << 20})  # M_MXFAST, too large
    with pytest.raises(Unavailable, match="glibc refuses a setting of mallopt"):
        allocator.tune()
