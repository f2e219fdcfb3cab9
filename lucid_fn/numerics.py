"""Accurate sums, promotion of dtypes and valid labels, for several packages.

Most of them are sums. MLX adds up one number after another on a CPU: of 4 million equal
numbers its float32 sum is 4 % off. Blocks of blocks keep the error below 1e-6. On a GPU
each thread adds up a part, so there blocks are longer, and kernels fewer.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any

import mlx.core as mx

from lucid_fn.types import Array

# ---- reductions over axes of length 0 ----


def reduced(
    reduce: Callable[..., Array],
    x: Array,
    *,
    empty: float,
    axis: int | tuple[int, ...] | None = None,
    keepdims: bool = False,
) -> Array:
    """`reduce(x, axis, keepdims)`, such as `mx.mean`; `empty` over no numbers.

    MLX reduces an axis of length 0 of a transposed array by a plan that it never fills
    in: it loops over whatever the memory holds, for minutes or into other results.

    Example:
        >>> import mlx.core as mx
        >>> reduced(mx.mean, mx.zeros((0, 2)).T, axis=1, empty=mx.nan)
        array([nan, nan], dtype=float32)
    """
    y = reduce(x, axis=axis, keepdims=keepdims)
    return y if x.size else mx.full(y.shape, empty, y.dtype)


# ---- sums over any axes ----

# Numbers that are added one after another. 8 keep the error of equal numbers, the
# worst case, below 3e-7 at any size; 16 make it twice and 64 eight times as large.
_BLOCK = 8
_LAST = 16  # as many are added at once in the end

# Sums that are formed side by side: MLX vectorizes them, and they stay in the cache.
_BESIDE = 64


def total(x: Array) -> Array:
    """The sum of all numbers of an array, in blocks: shape `()`.

    Example:
        >>> import mlx.core as mx
        >>> abs(total(mx.full((1_000_000,), 0.1)).item() / 100_000 - 1) < 1e-6
        True
    """
    return blocked_sum(x, range(x.ndim)).reshape(())


def blocked_sum(x: Array, axes: Sequence[int]) -> Array:
    """The sum over some axes, which stay with length 1, in blocks of blocks.

    On a CPU `mx.sum` adds one number after another: of 2.4 million squares, the size of
    one weight of ResNet-18, its float32 result is 2e-3 off. In blocks the error stays
    below 1e-6 at 100 million numbers, and the sum takes a third of the time. The dtype
    is that of `x`: convert half precision first.

    Args:
        x: float or complex, any shape.
        axes: non-negative, in ascending order.
    """
    shape = list(x.shape)
    for start, end in _runs(axes):
        outer, count = math.prod(shape[:start]), math.prod(shape[start:end])
        x = _sum_middle(x.reshape(outer, count, math.prod(shape[end:])))
        shape[start:end] = [1] * (end - start)
    return x.reshape(shape)


def _runs(axes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Start and end of each run of neighbouring axes: they are summed as one."""
    for _, run in itertools.groupby(enumerate(axes), lambda pair: pair[1] - pair[0]):
        numbers = [axis for _, axis in run]
        yield numbers[0], numbers[-1] + 1


def _sum_middle(x: Array) -> Array:
    """`(outer, n, inner)` to `(outer, inner)`."""
    outer, n, inner = x.shape
    if _on_gpu():
        return _sum_in_long_blocks(x)
    while n > _LAST:
        beside = min(max(_BESIDE // max(inner, 1), 1), n // _BLOCK)
        blocks = n // (_BLOCK * beside)
        whole = blocks * _BLOCK * beside
        head = x[:, :whole].reshape(outer, blocks, _BLOCK, beside * inner)
        sums = mx.sum(head, axis=2).reshape(outer, blocks * beside, inner)
        x = sums if whole == n else mx.concatenate([sums, x[:, whole:]], axis=1)
        n = x.shape[1]
    return reduced(mx.sum, x, axis=1, empty=0)


# ---- sums over rows, in the fewest kernels ----

_FEW_ROWS = 128  # at most 2e-6 off, the worst case of equal numbers
_LONGEST_BLOCK = 41  # at most 5e-7 off on each level, in either direction


def sum_rows(x: Array) -> Array:
    """The sum over the axis before the last: `(..., R, C)` to `(..., C)`, in blocks.

    Half precision is added up in float32, which the result keeps. On a CPU `mx.sum`
    adds one row after another: of 4 million rows of 0.1 its result is 4 % off, that of
    blocks 1e-7.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn.numerics import sum_rows
        >>> sum_rows(mx.ones((3, 2)))
        array([3, 3], dtype=float32)
    """
    x = x.astype(mx.result_type(x.dtype, mx.float32))
    if _on_gpu():
        return _sum_in_long_blocks(x)
    rows = x.shape[-2]
    levels = max(2, math.ceil(math.log(max(rows, 2), _LONGEST_BLOCK)))
    return _sum_in_blocks(x, math.ceil(rows ** (1 / levels)), _FEW_ROWS)


def _sum_in_blocks(x: Array, longest: int, few: int) -> Array:
    *leading, rows, columns = x.shape
    if rows <= max(2 * longest, few) or not x.size:
        return reduced(mx.sum, x, axis=-2, empty=0)
    # Of a length that leaves no rest, if there is one.
    lengths = range(longest, longest // 2, -1)
    block = next((length for length in lengths if rows % length == 0), longest)
    blocks, rest = divmod(rows, block)
    inside = x[..., : rows - rest, :].reshape(*leading, blocks, block, columns)
    total = _sum_in_blocks(inside.sum(axis=-2), longest, few)
    return total + x[..., rows - rest :, :].sum(axis=-2) if rest else total


# ---- the same on GPUs ----

# What a thread adds up: at most 1e-6 off. (Of the kernels in MLX 0.32's
# mlx/backend/metal/kernels/reduction and mlx/backend/cuda/reduce.)
_OF_A_THREAD = 64
_THREADS = 32  # for each sum
_THREADS_OF_FEW_SUMS = 1024


def _on_gpu() -> bool:
    return bool(mx.default_device() == mx.gpu)


def _sum_in_long_blocks(x: Array) -> Array:
    rows, sums = x.shape[-2], x.size // max(x.shape[-2], 1)
    are_few = rows > _THREADS * sums and sums < 1 << 15
    few = _OF_A_THREAD * (_THREADS_OF_FEW_SUMS if are_few else _THREADS)
    return _sum_in_blocks(x, _OF_A_THREAD * _THREADS, few)


def channel_sum(x: Array) -> Array:
    """The sum over all axes but the last, as `sum_rows`: `(..., C)` to `(C,)`."""
    return sum_to(x, x.shape[-1:])


def sum_to(x: Array, shape: tuple[int, ...]) -> Array:
    """The transpose of broadcasting an array of `shape` to the shape of `x`.

    Args:
        x: float, shape `(..., C)`.
        shape: `(C,)`, or that of a single number.
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

    Half precision is added up in float32, and rounded once to the dtype of the product.
    A BLAS adds one number to one sum after another, every few hundred rows in large
    products and every row in small ones: 5e-4 off after 65,536 rows of equal numbers.
    """
    rows = a.shape[-2]
    piece = 1 << (8 if a.shape[-1] * b.shape[-1] < 1024 else 16)
    whole = rows // piece * piece
    if whole <= piece:
        return a.swapaxes(-1, -2) @ b
    total = sum_by_pieces(a[..., :whole, :], b[..., :whole, :], piece)
    if whole < rows:
        total = total + a[..., whole:, :].swapaxes(-1, -2) @ b[..., whole:, :]
    return total.astype(promoted(a, b))


def sum_by_pieces(a: Array, b: Array, piece: int) -> Array:
    """`sum_of_products` by products of `piece` rows, a divisor of their number.

    Of half precision the result is the sum in float32.
    """
    *leading, r, n = a.shape
    k, pieces = b.shape[-1], r // piece
    a, b = (x.reshape(*leading, pieces, piece, x.shape[-1]) for x in (a, b))
    products = (a.swapaxes(-1, -2) @ b).reshape(*leading, pieces, n * k)
    return sum_rows(products).reshape(*leading, n, k)


# ---- dtypes ----


def promoted(*arrays: Any) -> mx.Dtype:
    """The dtype that the arrays promote to, as in `x + weight + bias`."""
    dtype: mx.Dtype = reduce(mx.result_type, (array.dtype for array in arrays))
    return dtype


def widen(x: Array) -> Array:
    """Half precision as float32: a square of float16 overflows from 256 on."""
    return x.astype(mx.float32) if x.dtype in (mx.float16, mx.bfloat16) else x


# ---- labels ----


def is_valid_label(labels: Array, num_classes: int) -> Array:
    """Whether each label is in [0, num_classes): bool, of the shape of `labels`.

    Example:
        >>> import mlx.core as mx
        >>> is_valid_label(mx.array([0, 7, 255], mx.uint8), 300).tolist()
        [True, True, True]
    """
    # MLX takes a number in the dtype of the array it meets, and refuses 300 as a uint8.
    wide = labels if labels.dtype.size >= 4 else labels.astype(mx.int32)
    return mx.logical_and(wide >= 0, wide < num_classes)
