"""Products of tall, narrow matrices, in pieces small enough that no BLAS packs them.

A BLAS packs its operands, which takes as long as the product itself for matrices with
few columns. On processors with AVX-512, OpenBLAS does not pack small products: divided
into such pieces, the products of LeNet-5's convolutions take as little as half the
time. With its kernels for AVX2 nothing is gained or lost.
"""

from functools import lru_cache

from lucid_fn.numerics import promoted, sum_of_block_products, sum_of_products
from lucid_fn.types import Array

MAX_UNPACKED = 1_000_000  # multiplications of a product that OpenBLAS does not pack
_MIN_ROWS = 32  # of a piece; with fewer, the other operand is read too often
_MIN_SUMMED = 64  # of a piece of a sum, whose result is written and read again


def by_rows(a: Array, b: Array) -> Array:
    """`a @ b` of `(R, K)` and `(..., K, N)`."""
    (r, k), (*leading, _, n) = a.shape, b.shape
    piece = piece_rows(r, k * n, _MIN_ROWS)
    if piece == r:
        return a @ b
    # The extra axis of b keeps MLX from merging the pieces into one product.
    return (a.reshape(-1, piece, k) @ b.reshape(-1, 1, k, n)).reshape(*leading, r, n)


def over_rows(a: Array, b: Array) -> Array:
    """`a.T @ b` of `(R, N)` and `(R, K)`: a sum over the rows."""
    (r, n), k = a.shape, b.shape[1]
    piece = piece_rows(r, k * n, _MIN_SUMMED)
    if piece == r:
        return sum_of_products(a, b)
    return sum_of_block_products(a, b, piece).astype(promoted(a, b))


@lru_cache(maxsize=512)
def piece_rows(rows: int, per_row: int, fewest: int) -> int:
    """Rows in a piece, at least `fewest`; all rows if no equal pieces fit.

    Args:
        rows: of the product.
        per_row: multiplications for each row.
        fewest: smallest number of rows in a piece.
    """
    most = MAX_UNPACKED // max(per_row, 1)
    if rows <= most:
        return rows
    return next((n for n in range(most, fewest - 1, -1) if rows % n == 0), rows)
