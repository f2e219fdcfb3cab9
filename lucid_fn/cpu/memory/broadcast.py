"""Arithmetic of an array with one number a row or a column, at full speed."""

import operator
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias, cast

import mlx.core as mx

from lucid_fn.ops.custom_derivative import after
from lucid_fn.ops.seam import current_part
from lucid_fn.types import Array, ArrayFn

BinaryFn: TypeAlias = Callable[[Array, Array], Array]

_LARGE = 1 << 19  # numbers of an array that a core does not keep in its own cache
_RUN = 16  # numbers of a row, each of which meets a copy of its own of the row's number


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
    # does not vectorize: 0.7 ns a number for x - y with a number a row, where MLX's
    # own kernel takes 0.13. Squeezing an axis is a border that it does not cross, and
    # still lets it see that forward and derivative compute the same; the `contiguous`
    # above is the border on the other side.
    return mx.squeeze(mx.broadcast_to(y, (1, *x.shape)), axis=0)


class Arithmetic(NamedTuple):
    """Operators of an array and one number a row."""

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
    """`fn(by, *arrays, *by_row, *by_column)`, elementwise; `by` is the arithmetic.

    Large arrays go through one kernel, for which g++ needs strides of 1: rows are taken
    in runs, and the number of a row is repeated for one run. It shares nothing with the
    kernels of other calls, as what is shared is an array to be written and read. In the
    cache that costs less than to compute it again, so there each operation with a
    number a row is a kernel of its own.

    Args:
        fn: as deep as `mx.compile` fuses, 11 operations.
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
