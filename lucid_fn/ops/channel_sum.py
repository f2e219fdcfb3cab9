"""Sums over the rows of a matrix, such as a gradient's over a batch, without rounding.

MLX adds up one number after another on a CPU: of 4 million equal numbers its float32
sum is 4 % off. Blocks of blocks keep it below 1e-6, in the fewest kernels that do.
"""

import math

import mlx.core as mx

from lucid_fn.types import Array

_FEW_ROWS = 128  # at most 2e-6 off, the worst case of equal numbers
_LONGEST_BLOCK = 41  # at most 5e-7 off on each level, in either direction


def channel_sum(x: Array) -> Array:
    """`(..., C)` to `(C,)`; of half precision in float32."""
    return sum_to(x, x.shape[-1:])


def place_sum(x: Array) -> Array:
    """`(N, P, C)` to `(N, C)`, the sum over the places, likewise."""
    return sum_rows(x)


def sum_rows(x: Array) -> Array:
    """The sum over the axis before the last: `(..., R, C)` to `(..., C)`, in blocks.

    Half precision is added up in float32, which the result keeps. On a CPU `mx.sum`
    adds one row after another: of 4 million rows of 0.1 its result is 4 % off, that of
    blocks 1e-7.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn.ops.channel_sum import sum_rows
        >>> sum_rows(mx.ones((3, 2)))
        array([3, 3], dtype=float32)
    """
    x = x.astype(mx.result_type(x.dtype, mx.float32))
    rows = x.shape[-2]
    levels = max(2, math.ceil(math.log(max(rows, 2), _LONGEST_BLOCK)))
    return _sum_in_blocks(x, math.ceil(rows ** (1 / levels)))


def _sum_in_blocks(x: Array, longest: int) -> Array:
    *leading, rows, columns = x.shape
    if rows <= max(2 * longest, _FEW_ROWS):
        return x.sum(axis=-2)
    # Of a length that leaves no rest, if there is one.
    lengths = range(longest, longest // 2, -1)
    block = next((length for length in lengths if rows % length == 0), longest)
    blocks, rest = divmod(rows, block)
    inside = x[..., : rows - rest, :].reshape(*leading, blocks, block, columns)
    total = _sum_in_blocks(inside.sum(axis=-2), longest)
    return total + x[..., rows - rest :, :].sum(axis=-2) if rest else total


def sum_to(x: Array, shape: tuple[int, ...]) -> Array:
    """The transpose of broadcasting an array of `shape` to that of `x`.

    Args:
        x: float, shape `(..., C)`.
        shape: `(C,)`, or of a single number.
    """
    columns = math.prod(x.shape[-1:])
    by_column = sum_rows(x.reshape(x.size // max(columns, 1), columns))
    if math.prod(shape) == 1:
        by_column = sum_rows(by_column[:, None])
    return by_column.reshape(shape)


def sum_examples(x: Array) -> Array:
    """The sum over axis 0, in blocks: `(N, ...)` to `(...)`, of the dtype of `x`."""
    rows = x.reshape(len(x), math.prod(x.shape[1:]))
    return sum_rows(rows).reshape(x.shape[1:]).astype(x.dtype)


def sum_of_products(a: Array, b: Array) -> Array:
    """`a.T @ b` of `(..., R, N)` and `(..., R, K)`, exact over millions of rows.

    A BLAS adds one number to one sum after another, every few hundred rows in large
    products and every row in small ones: 5e-4 off after 65,536 rows of equal numbers.
    """
    rows = a.shape[-2]
    piece = 1 << (8 if a.shape[-1] * b.shape[-1] < 1024 else 16)
    whole = rows // piece * piece
    if whole <= piece:
        return a.swapaxes(-1, -2) @ b
    total = sum_by_pieces(a[..., :whole, :], b[..., :whole, :], piece)
    if whole == rows:
        return total
    return total + a[..., whole:, :].swapaxes(-1, -2) @ b[..., whole:, :]


def sum_by_pieces(a: Array, b: Array, piece: int) -> Array:
    """`sum_of_products` by products of `piece` rows each, which divides their number."""
    *leading, r, n = a.shape
    k, pieces = b.shape[-1], r // piece
    a, b = (x.reshape(*leading, pieces, piece, x.shape[-1]) for x in (a, b))
    products = (a.swapaxes(-1, -2) @ b).reshape(*leading, pieces, n * k)
    return sum_rows(products).reshape(*leading, n, k)
