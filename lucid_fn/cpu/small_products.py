"""Products of tall, narrow matrices, in pieces that the BLAS does not pack.

Before it multiplies, a BLAS copies its operands into an order of its own. For matrices
with few columns that takes as long as the product. OpenBLAS leaves it out for small
products on processors with AVX-512: in pieces, the products of LeNet-5's convolutions
take down to half the time. With its kernels for AVX2 nothing is gained or lost.
"""

from functools import lru_cache

from lucid_fn.numerics import promoted, sum_of_block_products, sum_of_products
from lucid_fn.types import Array

MOST = 1_000_000  # multiplications of a product that OpenBLAS computes as it is
_FEWEST_ROWS = 32  # of a piece; with fewer, the other operand is read too often
_FEWEST_SUMMED = 64  # of a piece of a sum, whose result is written and read again


def by_rows(a: Array, b: Array) -> Array:
    """`a @ b` of `(R, K)` and `(..., K, N)`."""
    (r, k), (*leading, _, n) = a.shape, b.shape
    piece = piece_rows(r, k * n, _FEWEST_ROWS)
    if piece == r:
        return a @ b
    # With two axes of b MLX would make one product of all pieces again.
    return (a.reshape(-1, piece, k) @ b.reshape(-1, 1, k, n)).reshape(*leading, r, n)


def over_rows(a: Array, b: Array) -> Array:
    """`a.T @ b` of `(R, N)` and `(R, K)`: a sum over the rows."""
    (r, n), k = a.shape, b.shape[1]
    piece = piece_rows(r, k * n, _FEWEST_SUMMED)
    if piece == r:
        return sum_of_products(a, b)
    return sum_of_block_products(a, b, piece).astype(promoted(a, b))


@lru_cache(maxsize=512)
def piece_rows(rows: int, each: int, fewest: int) -> int:
    """Rows of a piece: all of them where no equal pieces fit."""
    most = MOST // max(each, 1)
    if rows <= most:
        return rows
    return next((n for n in range(most, fewest - 1, -1) if rows % n == 0), rows)
