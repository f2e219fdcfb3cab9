"""Tests a CBLAS matrix product, given by its address."""

import ctypes
import functools
import itertools
import operator
from typing import Any

ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112  # <cblas.h>
# Odd sizes beyond a register tile: OpenBLAS 0.3.30 is wrong in some of these on ARM
# cores with SME (https://github.com/OpenMathLib/OpenBLAS/issues/5429).
M, N, K = 45, 35, 33
Matrix = list[list[int]]


def multiplies(name: str, address: int) -> bool:
    """Whether the function at `address` multiplies correctly as `cblas_?gemm`.

    It multiplies small integers, for which floating point is exact, plain and
    transposed, and writes to memory full of NaN, which it must not read.
    """
    modes = itertools.product((PLAIN, TRANSPOSED), repeat=2)
    return all(_multiplies(name, address, *mode) for mode in modes)


def _multiplies(name: str, address: int, mode_a: int, mode_b: int) -> bool:
    real: Any = ctypes.c_double if name == "cblas_dgemm" else ctypes.c_float
    parts = 2 if name == "cblas_cgemm" else 1  # real and imaginary part, side by side

    def array(values: Any) -> Any:
        flat = (real * (parts * len(values)))()
        flat[::parts] = values
        return flat

    def stored(matrix: Matrix, mode: int) -> tuple[Any, int]:
        rows = matrix if mode == PLAIN else list(zip(*matrix, strict=True))
        return array([x for row in rows for x in row]), len(rows[0])

    a, b, expected = _example()
    (left, lda), (right, ldb) = stored(a, mode_a), stored(b, mode_b)
    result = array([float("nan")] * (M * N))
    numbers = {1: array([1]), 0: array([0])}
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    scalar = real if parts == 1 else pointer  # complex ones are passed by address

    def number(value: int) -> Any:
        return value if parts == 1 else ctypes.addressof(numbers[value])

    gemm = ctypes.CFUNCTYPE(
        None,
        *6 * [integer],
        *[scalar, pointer, integer, pointer, integer],
        *[scalar, pointer, integer],
    )(address)
    gemm(
        *[ROW_MAJOR, mode_a, mode_b, M, N, K],
        *[number(1), ctypes.addressof(left), lda, ctypes.addressof(right), ldb],
        *[number(0), ctypes.addressof(result), N],
    )
    return bytes(result) == bytes(array(expected))


@functools.cache
def _example() -> tuple[Matrix, Matrix, list[int]]:
    """`a` `(M, K)`, `b` `(K, N)` and the flat entries of their product `(M, N)`."""
    a = [[(3 * i + 5 * k) % 7 + 1 for k in range(K)] for i in range(M)]
    b = [[(2 * k + 7 * j) % 11 + 1 for j in range(N)] for k in range(K)]
    columns = list(zip(*b, strict=True))
    return a, b, [sum(map(operator.mul, row, col)) for row in a for col in columns]
