"""Replaces the header of MLX's fused kernels, for faster code and compilation.

A fused kernel is a few lines of C++ that include MLX's preamble. g++ looks for that
header first in the folder of the including file, where MLX keeps its kernels, and
prefers a precompiled one (`.gch`) there. So two files are put into the folder:

- a header that includes MLX's and lets g++ use vector instructions
  (`compiled_preamble.h`): Adam takes a quarter of the time, gelu half;
- the same, precompiled. MLX's preamble has 69,000 lines, with which g++ takes 0.42 s
  for each kernel; with a precompiled header, which takes 1.3 s once, 0.11 s. g++
  ignores a `.gch` that was made by another compiler or with other options.

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

# MLX 0.32's options. With others g++ ignores the precompiled header.
_OPTIONS = ("-std=c++17", "-O3", "-Wall", "-fPIC", "-shared")

# Renamed when complete, since other processes may compile at the same time. `.made` is
# a copy of the source header, which another process may replace in the meantime. A
# precompiled header that is newer than its `.made` has been damaged.
_SCRIPT = '''source="$1"; shift; cp "$source" "$0.$$.made" \\
    && g++ "$@" "$source" -o "$0.$$" && mv -f "$0.$$" "$0" \\
    && touch "$0.$$.made" && mv -f "$0.$$.made" "$0.made" \\
    || rm -f "$0.$$" "$0.$$.made"'''


def header() -> Path:
    """The path where g++ finds our header."""
    return kernel_cache.folder() / PREAMBLE


def target() -> Path:
    """The path where g++ finds the precompiled header."""
    return header().with_suffix(".h.gch")


@functools.cache
def precompile() -> None:
    """Check the folder of kernels and precompile the header in the background, once.

    Kernels that are compiled in the meantime take as long as without it.
    """
    kernel_cache.prepare()
    with contextlib.suppress(Unavailable):
        provide()
    with contextlib.suppress(Unavailable):
        _remove_unusable(include_folder())
    with contextlib.suppress(Unavailable):
        process = start_compiler()
        # Wait for it, so that it does not remain as a zombie process.
        threading.Thread(target=process.wait, daemon=True).start()


def provide() -> None:
    """Install our header, if the processor has AVX2.

    If the header changes, kernels that were compiled with the old one are removed.

    Raises:
        Unavailable: if MLX does not compile for a Linux CPU here, or the folder is not
            writable.
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
    import shutil  # rarely needed

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
    """Start the compilation of the header.

    Raises:
        Unavailable: if MLX does not compile for a Linux CPU here, if the precompiled
            header exists, or if `LUCID_FN_PRECOMPILE=none`.
    """
    import subprocess  # here, since it takes 5 ms

    if os.environ.get(VARIABLE) == "none":
        raise Unavailable(f"{VARIABLE}=none")
    include, path = include_folder(), target()
    if path.exists():
        raise Unavailable("it exists already")
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
    """The header that kernels include."""
    return header() if header().exists() else include / PREAMBLE


def _remove_unusable(include: Path) -> None:
    """Remove a precompiled header that is damaged or was made from another header.

    g++ fails with a truncated one, and prefers an outdated one to the header beside it:
    kernels compiled with that are removed, too.
    """
    path = target()
    made = path.with_name(f"{path.name}.made")
    with contextlib.suppress(OSError):  # such as a missing file
        changed = path.stat().st_ctime_ns
        if not made.exists() or changed > made.stat().st_mtime_ns:
            path.unlink()
        elif made.read_bytes() != _source(include).read_bytes():
            path.unlink()
            kernel_cache.clear()
