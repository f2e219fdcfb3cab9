"""Checks of the machine, the process and its environment."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import mlx.core as mx

from lucid_fn.cpu import runtime
from lucid_fn.cpu.runtime import kernel_cache, kernel_header
from lucid_fn.cpu.runtime.blas import THREAD_VARIABLES, describe
from lucid_fn.doctor.check import Check, on_cpu, on_linux_cpu, plural
from lucid_fn.transforms import compilation

SLOWING = {
    "OPENBLAS_CORETYPE": "OpenBLAS finds the kernels for this CPU by itself",
    "OPENBLAS_L2_SIZE": "OpenBLAS finds the size of the cache by itself",
    "LUCID_FN_OPS": "it may force MLX's plain operations",
    "LUCID_FN_STREAMS": "by default there is a stream for each core",
    "MALLOC_PERTURB_": "it makes malloc write all memory",
    "MALLOC_CHECK_": "it makes malloc check itself",
}

# On macOS it is Apple's clang by that name.
_INSTALL = "xcode-select --install" if sys.platform == "darwin" else "apt install g++"


def device() -> Check:
    """The device that MLX computes on."""
    info = mx.device_info()
    model = info.get("device_name", "of an unknown model")
    if not on_cpu():  # on Metal, or else on CUDA
        memory = int(info.get("memory_size") or info.get("total_memory") or 0)
        found = f"GPU: {model}, {memory / 2**30:.0f} GiB of memory"
        return Check("device", "ok", found, numbers={"bytes": memory})
    if not on_linux_cpu():
        return Check("device", "ok", f"CPU: {model}")
    cores = runtime.physical_cores()
    found = f"CPU: {model}, {plural(cores, 'core')} for this process"
    return Check("device", "ok", found, numbers={"cores": cores})


def load() -> Check:
    """Whether other programs occupy the cores."""
    busy, cores = os.getloadavg()[0], runtime.physical_cores()
    found = f"{busy:.1f} programs wanted a core in the last minute"
    if busy <= cores:
        return Check("load", "ok", found, numbers={"load": busy})
    advice = "training and the times below take longer; wait until others are done"
    return Check("load", "slow", found, advice, {"load": busy})


def blas() -> Check:
    """The BLAS that MLX calls."""
    status = runtime.start()
    if not on_linux_cpu():
        return Check("BLAS", "ok", "the device's own")
    if status.blas:
        found = f"{describe(status.blas)}, in {Path(status.blas).name}"
        return Check("BLAS", "ok", found, numbers={"slots": status.slots})
    advice = _problem("BLAS") or "unset LUCID_FN_BLAS"
    return Check("BLAS", "slow", "MLX's own, a reference implementation", advice)


def allocator() -> Check:
    """Whether malloc keeps the memory that MLX frees."""
    status = runtime.start()
    if not on_linux_cpu():
        return Check("allocator", "ok", "the device's own")
    if status.allocator:
        return Check("allocator", "ok", "glibc's malloc, told to keep what MLX frees")
    advice = _problem("allocator") or "unset LUCID_FN_MALLOC"
    return Check("allocator", "slow", "malloc returns what MLX frees", advice)


def compiler() -> Check:
    """The compiler with which MLX fuses operations on the CPU."""
    if not on_cpu():
        return Check("compiler", "ok", "the device's own")
    if os.environ.get("MLX_DISABLE_COMPILE"):
        found = "MLX_DISABLE_COMPILE is set: compiled functions run uncompiled"
        return Check("compiler", "slow", found, "unset MLX_DISABLE_COMPILE")
    try:
        found = _gxx("--version").partition("\n")[0]
    except (OSError, subprocess.CalledProcessError):
        found = "no g++ in PATH: MLX runs operations one by one, unfused"
        return Check("compiler", "slow", found, f"install g++ ({_INSTALL})")
    include = Path(str(mx.__file__)).parent / "include"
    flags = ("-std=c++17", "-fsyntax-only", "-I", str(include), "-x", "c++", "-")
    try:
        _gxx(*flags, stdin=f'#include "{kernel_header.PREAMBLE}"\n')
    except subprocess.CalledProcessError as error:
        message = error.stderr.strip().partition("\n")[0]
        found = f"g++ cannot compile MLX's kernels: {message}"
        return Check("compiler", "broken", found, f"reinstall g++ ({_INSTALL})")
    return Check("compiler", "ok", found)


def merging() -> Check:
    """Whether MLX can compile without merging, where merging loses an array."""
    if compilation.goes_without_merging():
        return Check("merging", "ok", "can be left out where MLX loses an array by it")
    found = (
        f"this version of MLX, {version('mlx')}, has no way to compile without merging "
        "equal operations: jit and the loops raise an error for a few functions, such "
        "as derivatives of derivatives through mx.split"
    )
    advice = "write slices, x[:, :n], in place of mx.split; and please report it"
    return Check("merging", "broken", found, advice)


def kernels() -> Check:
    """The compiled CPU kernels; damaged ones are removed."""
    if not on_linux_cpu():
        return Check("kernels", "ok", "the device's own")
    reason = kernel_cache.obstacle()
    if reason:
        kernel_cache.prepare()  # uses another folder
    if left := kernel_cache.obstacle():
        found = f"none can be kept ({left}): MLX runs operations one by one, unfused"
        return Check("kernels", "slow", found, "set TMPDIR to a folder of your own")
    folder, damaged = kernel_cache.folder(), kernel_cache.repair(thorough=True)
    if damaged:
        advice = "MLX compiles them again; if this recurs, check the disk"
        return Check(
            *("kernels", "slow", kernel_cache.describe(damaged), advice),
            numbers={"damaged": len(damaged)},
        )
    found = f"{plural(number := len(list(folder.glob('*.so'))), 'kernel')} in {folder}"
    found += f", since {reason}" if reason else ""
    return Check("kernels", "ok", found, numbers={"kernels": number})


def environment() -> Check:
    """Environment variables that slow the process down."""
    reasons = {name: why for name, why in SLOWING.items() if os.environ.get(name)}
    if runtime.physical_cores() > 1:
        for name in THREAD_VARIABLES:
            if os.environ.get(name) == "1":
                reasons[name] = "a matrix product outside of a layer uses one core"
            elif os.environ.get(name):
                reasons[name] = "operations use the cores better than BLAS threads do"
    if not reasons or not on_linux_cpu():
        return Check("environment", "ok", "no variable slows this process down")
    found = ", ".join(f"{name}={os.environ[name]}" for name in reasons)
    advice = "; ".join(f"unset {name}: {why}" for name, why in reasons.items())
    return Check("environment", "slow", found, advice)


def _problem(word: str) -> str:
    """The problem of the runtime that mentions `word`; empty if there is none."""
    return next((text for text in runtime.start().problems if word in text), "")


def _gxx(*arguments: str, stdin: str = "") -> str:
    """The output of `g++`, which MLX calls by that name."""
    command = ("g++", *arguments)
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, check=True
    )
    return done.stdout
