"""Sets up MLX on Linux CPUs: an optimised BLAS, the allocator, fast fused kernels."""

from lucid_fn.cpu.runtime.cores import physical_cores
from lucid_fn.cpu.runtime.startup import (
    Status,
    blas_threads,
    packs_small_products,
    set_blas_threads,
    start,
)

__all__ = [
    "Status",
    "blas_threads",
    "packs_small_products",
    "physical_cores",
    "set_blas_threads",
    "start",
]


def __dir__() -> list[str]:
    return __all__
