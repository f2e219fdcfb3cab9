"""Redirects MLX's calls of BLAS and LAPACK to an optimised library."""

import ctypes
import os
from importlib.util import find_spec
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn.cpu.runtime import elf_images, slots
from lucid_fn.cpu.runtime.errors import Unavailable
from lucid_fn.cpu.runtime.gemm import multiplies

GEMM = ("cblas_sgemm", "cblas_dgemm", "cblas_cgemm")
# Without *geev, since the order of its eigenvalues depends on rounding.
LAPACK = (
    *("sgetrf_", "sgetri_", "spotrf_", "strtri_", "sgeqrf_", "sorgqr_"),
    *("dgetrf_", "dgetri_", "dpotrf_", "dtrtri_", "dgeqrf_", "dorgqr_"),
    *("sgesdd_", "dgesdd_", "cgesdd_", "ssyevd_", "dsyevd_", "cheevd_"),
)
OPTIMISED = ("openblas", "mkl", "blis", "armpl", "nvpl")  # in names of files
OPENBLAS = "libscipy_openblas-"  # not ...openblas64_-, which has 64-bit sizes
# OpenBLAS's names of its kernels that do not pack small matrices.
UNPACKING = ("SkylakeX", "Cooperlake", "SapphireRapids")
THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")


class Blas(NamedTuple):
    """A loaded BLAS: its file, and the prefix of its function names."""

    path: str
    handle: ctypes.CDLL
    prefix: str

    def function(self, name: str) -> Any:
        """The foreign function that the standard calls `name`, None if it is absent."""
        return getattr(self.handle, self.prefix + name, None)


def redirect(blas: Blas) -> int:
    """Redirect MLX's calls of BLAS and LAPACK to `blas`, and test its products.

    MLX itself must not compute here: its threads would not survive a later fork.

    Returns:
        The number of pointers that lead to `blas`.

    Raises:
        Unavailable: if that is not possible; then all pointers are as before.
    """
    found = slots.mlx_slots(frozenset(GEMM + LAPACK))
    changed = [slot for slot in found if blas.function(slot.name)]
    if missing := set(GEMM) - {slot.name for slot in changed}:
        raise Unavailable(f"MLX's library does not call {', '.join(sorted(missing))}")
    before = [(slot, slots.read(slot)) for slot in changed]
    try:
        for slot in changed:
            slots.write(slot, _address(blas.function(slot.name)))
        for slot in changed:
            if slot.name in GEMM and not multiplies(slot.name, slots.read(slot)):
                raise Unavailable(f"{slot.name} of {blas.path} gives wrong products")
    except Unavailable:
        for slot, target in before:
            if slots.read(slot) != target:
                slots.write(slot, target)
        raise
    return len(changed)


def own_blas() -> str | None:
    """The file of the BLAS that MLX was linked with, if that is an optimised one.

    MLX from conda, or built from source, often is.
    """
    for scope in (
        ctypes.CDLL(None),
        ctypes.CDLL(str(mx.__file__)),
    ):  # the linker's order
        if function := getattr(scope, GEMM[0], None):
            path = os.path.realpath(elf_images.path_at(_address(function)))
            folder, name = os.path.split(path)
            name = f"{os.path.basename(folder)}/{name}"  # openblas-pthread/libblas.so.3
            return path if any(word in name.lower() for word in OPTIMISED) else None
    return None


def scipy_openblas() -> str:
    """The path of the OpenBLAS in SciPy's wheel; SciPy is not imported.

    Raises:
        Unavailable: if SciPy is not installed, or not from a wheel.
    """
    spec = find_spec("scipy")
    if spec is None or spec.origin is None:
        raise Unavailable("SciPy, whose OpenBLAS would be used, is not installed")
    libraries = os.path.dirname(spec.origin) + ".libs"
    found = [name for name in _listed(libraries) if name.startswith(OPENBLAS)]
    if not found:
        raise Unavailable("the installed SciPy has no OpenBLAS of its own")
    return os.path.join(libraries, min(found))


def load(path: str) -> Blas:
    """Load a BLAS so that its symbols are invisible to other libraries.

    Raises:
        Unavailable: if it cannot be loaded, or is not a BLAS with 32-bit sizes.
    """
    try:
        handle = ctypes.CDLL(path)
    except OSError as error:
        raise Unavailable(f"it cannot be loaded: {error}") from None
    for prefix in ("", "scipy_"):
        blas = Blas(path, handle, prefix)
        if all(blas.function(name) for name in GEMM):
            if "USE64BITINT" in configuration(blas).split():
                raise Unavailable(
                    f"{path} has 64-bit sizes, where MLX passes 32-bit ones"
                )
            return blas
    raise Unavailable(f"{path} has no functions {', '.join(GEMM)}")


def configuration(blas: Blas) -> str:
    """The version, options and kernels of an OpenBLAS; empty for another BLAS."""
    return _text(blas.function("openblas_get_config"))


def describe(path: str) -> str:
    """Name, version and kernels of the BLAS at `path`, as far as known."""
    try:
        blas = load(path)
    except Unavailable:
        return "an optimised BLAS"
    version = " ".join(configuration(blas).split()[:2]) or "a BLAS"
    name = kernels(blas)
    return f"{version} with kernels for {name}" if name else version


def kernels(blas: Blas) -> str:
    """The processor whose kernels an OpenBLAS has chosen; empty for another BLAS."""
    return _text(blas.function("openblas_get_corename"))


def threads(blas: Blas) -> int:
    """The number of threads of an OpenBLAS; 0 for another BLAS."""
    function = blas.function("openblas_get_num_threads")
    return 0 if function is None else int(function())


def set_threads(blas: Blas, number: int) -> None:
    """Set the threads of an OpenBLAS, unless environment variables do."""
    function = blas.function("openblas_set_num_threads")
    if function is not None and not any(map(os.environ.get, THREAD_VARIABLES)):
        function(ctypes.c_int(number))


def _listed(folder: str) -> list[str]:
    """The names of the files in `folder`; empty if there is none."""
    return os.listdir(folder) if os.path.isdir(folder) else []


def _text(function: Any) -> str:
    """The string that a C function without arguments returns; empty if it is absent."""
    if function is None:
        return ""
    function.restype = ctypes.c_char_p
    return (function() or b"").decode()


def _address(function: Any) -> int:
    """The address of a C function."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0
