"""Calls a CBLAS matrix product at an address, to see whether it multiplies."""

import ctypes
from typing import Any

ROW_MAJOR, NO_TRANS, TRANS = 101, 111, 112  # <cblas.h>


def multiplies(name: str, address: int) -> bool:
    """Whether the function at `address` multiplies as `cblas_?gemm` must.

    It computes `(2, 3) @ (4, 3).T` on small integers, whose products and sums floating
    point represents exactly, into memory full of nan, which it must not read.
    """
    real: Any = ctypes.c_double if name == "cblas_dgemm" else ctypes.c_float
    is_complex = name == "cblas_cgemm"
    parts = 2 if is_complex else 1  # real and imaginary part stand side by side

    def array(*values: float) -> Any:
        flat = (real * (parts * len(values)))()
        flat[::parts] = values
        return flat

    def scalar(value: int) -> Any:  # complex scalars are passed by address
        return ctypes.addressof(one_and_zero[value]) if is_complex else value

    one_and_zero = {1: array(1), 0: array(0)}
    a, b, c = array(*range(1, 7)), array(*range(12)), array(*8 * [float("nan")])
    integer, pointer = ctypes.c_int, ctypes.c_void_p
    number = pointer if is_complex else real
    gemm = ctypes.CFUNCTYPE(
        None,
        *6 * [integer],
        *[number, pointer, integer, pointer, integer],
        *[number, pointer, integer],
    )(address)
    a_at, b_at, c_at = (ctypes.addressof(matrix) for matrix in (a, b, c))
    gemm(
        *[ROW_MAJOR, NO_TRANS, TRANS, 2, 4, 3],
        *[scalar(1), a_at, 3, b_at, 3],
        *[scalar(0), c_at, 4],
    )
    expected = [8, 26, 44, 62, 17, 62, 107, 152]
    return list(c) == list(array(*expected))
