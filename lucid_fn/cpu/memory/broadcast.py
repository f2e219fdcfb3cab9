"""Arithmetic of an array with one number for each row or column, at full speed."""

import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias, cast

import mlx.core as mx

from lucid_fn.ops.custom_derivative import after
from lucid_fn.ops.seam import current_part
from lucid_fn.types import Array, ArrayFn

BinaryFn: TypeAlias = Callable[[Array, Array], Array]

_LARGE = 1 << 19  # size of an array that does not fit into the cache of a core
_RUN = 16  # elements of a row for which the row's number is repeated in memory


def add(x: Array, y: Array) -> Array:
    """`x + y`, with `y` broadcast to the shape of `x`."""
    return mx.contiguous(x + _spread(y, x))


def subtract(x: Array, y: Array) -> Array:
    """`x - y`, with `y` broadcast to the shape of `x`."""
    return mx.contiguous(x - _spread(y, x))


def multiply(x: Array, y: Array) -> Array:
    """`x * y`, with `y` broadcast to the shape of `x`."""
    return mx.contiguous(x * _spread(y, x))


def divide(x: Array, y: Array) -> Array:
    """`x / y`, with `y` broadcast to the shape of `x`."""
    return mx.contiguous(x / _spread(y, x))


def _spread(y: Array, x: Array) -> Array:
    # `mx.compile` would fuse the broadcast with the arithmetic into a kernel that g++
    # does not vectorize: 0.7 ns an element for x - y with a number for each row, where
    # MLX's own kernel takes 0.13. It does not fuse across `squeeze`, and still merges
    # equal computations of forward and backward pass. The `contiguous` in the callers
    # ends the kernel on the other side.
    return mx.squeeze(mx.broadcast_to(y, (1, *x.shape)), axis=0)


class Arithmetic(NamedTuple):
    """Operators of an array and one number for each row."""

    add: BinaryFn
    subtract: BinaryFn
    multiply: BinaryFn


_IN_KERNELS = Arithmetic(add, subtract, multiply)
_FUSED = Arithmetic(operator.add, operator.sub, operator.mul)


def map_rows(
    fn: ArrayFn,
    arrays: Sequence[Array],
    by_row: Sequence[Array],
    by_column: Sequence[Array] = (),
) -> Array:
    """`fn(arithmetic, *arrays, *by_row, *by_column)`, elementwise on matrices.

    Large arrays take one fused kernel. g++ vectorizes only strides of 1, so rows are
    cut into runs, and the number of a row is repeated for one run. The kernel shares no
    intermediate array with other calls, since that would have to be written and read.
    In the cache that costs less than computing it again, so small arrays take a kernel
    for each operation with a number for each row.

    Args:
        fn: at most 11 operations deep, which is what `mx.compile` fuses.
        arrays: `(R, C)` each.
        by_row: `(R, 1)` each.
        by_column: `(C,)` each.
    """
    rows, columns = arrays[0].shape
    if rows * columns < _LARGE or columns % _RUN:
        return cast(Array, fn(_IN_KERNELS, *arrays, *by_row, *by_column))
    own = (1,) * (current_part() or 0)  # see `distinct_shape_per_part`

    def repeated(x: Array) -> Array:
        x = mx.contiguous(mx.broadcast_to(after(x, x), (rows, _RUN)))
        return x.reshape(*own, rows, 1, _RUN)

    y: Array = fn(
        _FUSED,
        *(x.reshape(*own, rows, columns // _RUN, _RUN) for x in arrays),
        *map(repeated, by_row),
        *(x.reshape(columns // _RUN, _RUN) for x in by_column),
    )
    return y.reshape(rows, columns)
