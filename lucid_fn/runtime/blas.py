"""Gives MLX an optimised BLAS by rewriting the slots through which it calls one."""

import ctypes
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from lucid_fn.runtime.gemm import multiplies
from lucid_fn.runtime.linker import LayoutError
from lucid_fn.runtime.slots import mlx_slots, read, write

GEMM = ("cblas_sgemm", "cblas_dgemm", "cblas_cgemm")
# Without *geev: the order of its eigenvalues depends on rounding.
LAPACK = (
    *("sgetrf_", "sgetri_", "spotrf_", "strtri_", "sgeqrf_", "sorgqr_"),
    *("dgetrf_", "dgetri_", "dpotrf_", "dtrtri_", "dgeqrf_", "dorgqr_"),
    *("sgesdd_", "dgesdd_", "cgesdd_", "ssyevd_", "dsyevd_", "cheevd_"),
)
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")


class Unavailable(Exception):
    """MLX was not given another BLAS; the message says why."""


class Blas(NamedTuple):
    """A BLAS in memory: its file, and what stands before its functions' names."""

    path: str
    handle: ctypes.CDLL
    prefix: str

    def function(self, name: str) -> Any:
        """The foreign function that the standard calls `name`, None if it is absent."""
        return getattr(self.handle, self.prefix + name, None)


def redirect(path: str | None = None) -> tuple[Blas, int]:
    """Points MLX's calls at the BLAS at `path`, or at the OpenBLAS in SciPy's wheel.

    MLX itself must not compute here: its threads would not survive a later fork.

    Returns:
        The BLAS, and the number of slots that lead to it.

    Raises:
        Unavailable: if that is not possible; then MLX calls what it called before.
    """
    blas = load(path or scipy_openblas())
    try:
        slots = [
            s for s in mlx_slots(frozenset(GEMM + LAPACK)) if blas.function(s.name)
        ]
    except (LayoutError, OSError) as error:
        raise Unavailable(f"MLX's library is not as expected: {error}") from None
    if missing := set(GEMM) - {slot.name for slot in slots}:
        raise Unavailable(f"MLX does not call {', '.join(sorted(missing))}")
    before = [(slot, read(slot)) for slot in slots]
    try:
        for slot in slots:
            write(slot, _address(blas.function(slot.name)))
        for slot in slots:
            if slot.name in GEMM and not multiplies(slot.name, read(slot)):
                raise Unavailable(f"{slot.name} of {path} gave a wrong product")
    except (Unavailable, OSError) as error:
        for slot, target in before:
            if read(slot) != target:
                write(slot, target)
        raise Unavailable(str(error)) from None
    return blas, len(slots)


def scipy_openblas() -> str:
    """The path of the OpenBLAS that SciPy's wheel brings along; SciPy stays unloaded.

    Raises:
        Unavailable: if SciPy is not installed, or not from a wheel.
    """
    spec = find_spec("scipy")
    if spec is None or spec.origin is None:
        raise Unavailable("SciPy, whose OpenBLAS would be used, is not installed")
    site = Path(spec.origin).parent.parent
    found = sorted((site / "scipy.libs").glob("libscipy_openblas-*.so"))
    if not found:
        raise Unavailable("the installed SciPy has no OpenBLAS of its own")
    return str(found[0])


def load(path: str) -> Blas:
    """Loads a BLAS so that no other library's calls are caught by its names.

    Raises:
        Unavailable: if it cannot be loaded, or is not a BLAS with 32-bit sizes.
    """
    try:
        handle = ctypes.CDLL(path)
    except OSError as error:
        raise Unavailable(f"{path} could not be loaded: {error}") from None
    for prefix in ("", "scipy_"):
        blas = Blas(path, handle, prefix)
        if all(blas.function(name) for name in GEMM):
            return blas
    raise Unavailable(f"{path} has no functions {', '.join(GEMM)}")


def set_threads(blas: Blas, threads: int) -> int:
    """Sets the threads of each call, unless the user did; returns the number in force.

    A user sets them by `OPENBLAS_NUM_THREADS` or `OMP_NUM_THREADS`. The number is the
    library's: SciPy, which has the same one, is held to it as well.
    """
    getter, setter = (
        blas.function(f"openblas_{verb}_num_threads") for verb in ("get", "set")
    )
    if getter is None or setter is None:  # another BLAS: its own variables rule
        return 0
    if not any(os.environ.get(name) for name in THREAD_VARIABLES):
        setter(ctypes.c_int(threads))
    return int(getter())


def _address(function: Any) -> int:
    """The address of a foreign function."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0
