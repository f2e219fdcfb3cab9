"""Makes glibc's allocator keep the memory that MLX frees, to use it again.

MLX takes each array on the CPU from `malloc` and gives it back to `free`. glibc maps
large blocks (over 32 MiB always) from the kernel and returns them on `free`, so that a
training step spends its time in page faults.
"""

import ctypes

# <malloc.h>
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8

SETTINGS = {
    M_MMAP_MAX: 0,  # no block has a mapping of its own
    M_TRIM_THRESHOLD: 2**31 - 1,  # what is freed stays
    M_TOP_PAD: 64 << 20,  # the heap grows in steps of 64 MiB
    M_ARENA_MAX: 8,  # streams do not wait for each other
}


def tune() -> bool:
    """Applies `SETTINGS`; False where the C library is not glibc, and has none."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(*item) for item in SETTINGS.items())
