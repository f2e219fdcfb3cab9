"""Gives MLX's fused kernels a header with which g++ compiles them fast, to fast code.

Each fused kernel is a few lines of C++ below an `#include` of MLX's preamble. g++ looks
for that header first in the folder of the file that includes it, where MLX keeps its
kernels, and there first for a precompiled one (`.gch`). So the folder gets

- a header of ours that includes MLX's and lets g++ use vector instructions
  (`compiled_preamble.h`): Adam takes a quarter of the time, gelu half;
- the same precompiled. MLX's preamble is 69,000 lines, which g++ reads anew for each
  kernel, 0.42 s in all; precompiled, which takes 1.3 s once, it is 0.11 s. A `.gch`
  that was made by another compiler, or with other options, is passed over.

Neither changes a result.
"""

import contextlib
import functools
import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.core as mx

from lucid_fn.cpu.runtime import kernel_cache
from lucid_fn.cpu.runtime.errors import Unavailable
from lucid_fn.io.files import atomic_write

if TYPE_CHECKING:
    from subprocess import Popen

PREAMBLE = "mlx/backend/cpu/compiled_preamble.h"
VARIABLE = "LUCID_FN_PRECOMPILE"

_OURS = Path(__file__).with_name("compiled_preamble.h")

# Those of MLX 0.32; for a kernel with others g++ reads the header itself, as before.
_OPTIONS = ("-std=c++17", "-O3", "-Wall", "-fPIC", "-shared")

# Under its name only once it is whole, since others may compile kernels or headers. One
# that has changed after `.made` has been damaged. That is a copy of the header that it
# was made of: another process may replace the header in the meantime.
_SCRIPT = '''source="$1"; shift; cp "$source" "$0.$$.made" \\
    && g++ "$@" "$source" -o "$0.$$" && mv -f "$0.$$" "$0" \\
    && touch "$0.$$.made" && mv -f "$0.$$.made" "$0.made" \\
    || rm -f "$0.$$" "$0.$$.made"'''


def header() -> Path:
    """Where g++ finds our header."""
    return kernel_cache.folder() / PREAMBLE


def target() -> Path:
    """Where g++ finds the precompiled header."""
    return header().with_suffix(".h.gch")


@functools.cache
def precompile() -> None:
    """Has the header compiled beside this process, once, where that is possible.

    Kernels that are compiled in the meantime take as long as without it. The folder for
    both is looked at first: see `kernel_cache.prepare`.
    """
    kernel_cache.prepare()
    with contextlib.suppress(Unavailable):
        provide()
    with contextlib.suppress(Unavailable):
        _remove_unusable(include_folder())
    with contextlib.suppress(Unavailable):
        process = start_compiler()
        # One that ends and is not waited for stays in the table of processes.
        threading.Thread(target=process.wait, daemon=True).start()


def provide() -> None:
    """Puts our header into the folder, where the processor has AVX2.

    All kernels are compiled with the same header: if it changes, those from before are
    removed, and MLX compiles what it needs of them again.

    Raises:
        Unavailable: if MLX does not compile for a Linux CPU here, or the folder cannot
            be written to.
    """
    include_folder()
    path = header()
    wanted = _OURS.read_bytes() if _has_avx2() else b""
    try:
        if wanted == (path.read_bytes() if path.exists() else b""):
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        target().unlink(missing_ok=True)
        kernel_cache.clear()
        if wanted:
            with atomic_write(path, caller="lucid_fn") as file:
                file.write(wanted)
    except OSError as error:
        raise Unavailable(str(error)) from error


def include_folder() -> Path:
    """The folder of MLX's headers.

    Raises:
        Unavailable: if MLX does not compile for a Linux CPU here.
    """
    import shutil  # not above: needed once a machine

    if "MLX_DISABLE_COMPILE" in os.environ:
        raise Unavailable("MLX_DISABLE_COMPILE is set")
    if sys.platform != "linux" or mx.default_device() != mx.cpu:
        raise Unavailable("not on a Linux CPU")
    include = Path(str(mx.__file__)).parent / "include"
    if not (include / PREAMBLE).exists():
        raise Unavailable("MLX came without its headers")
    if shutil.which("g++") is None:
        raise Unavailable("no g++ in PATH")
    return include


def start_compiler() -> "Popen[bytes]":
    """Starts the compilation of the header.

    Raises:
        Unavailable: if MLX does not compile for a Linux CPU here, if there is no need,
            or after `LUCID_FN_PRECOMPILE=none`.
    """
    import subprocess  # not above: 5 ms of the import of every program

    if os.environ.get(VARIABLE) == "none":
        raise Unavailable(f"{VARIABLE}=none")
    include, path = include_folder(), target()
    if path.exists():
        raise Unavailable("it is there already")
    options = (*_OPTIONS, "-I", str(include), "-x", "c++-header")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        kernel_cache.remove_abandoned(f"{PREAMBLE}.gch.*[0-9]")
        return subprocess.Popen(
            ["sh", "-c", _SCRIPT, str(path), str(_source(include)), *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        raise Unavailable(str(error)) from error


def _has_avx2() -> bool:
    with contextlib.suppress(OSError):
        return " avx2 " in Path("/proc/cpuinfo").read_text()
    return False


def _source(include: Path) -> Path:
    """The header that kernels are compiled with."""
    return header() if header().exists() else include / PREAMBLE


def _remove_unusable(include: Path) -> None:
    """Removes a precompiled header that is damaged or of another header.

    g++ fails with one that is cut short, and takes any other in the place of the header
    beside it: kernels that were compiled so are as slow as without ours.
    """
    path = target()
    made = path.with_name(f"{path.name}.made")
    with contextlib.suppress(OSError):  # such as none there
        changed = path.stat().st_ctime_ns
        if not made.exists() or changed > made.stat().st_mtime_ns:
            path.unlink()
        elif made.read_bytes() != _source(include).read_bytes():
            path.unlink()
            kernel_cache.clear()
