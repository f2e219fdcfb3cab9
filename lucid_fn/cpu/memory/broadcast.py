"""Arithmetic of an array with one number a row or a column, at full speed."""

from collections.abc import Sequence

import mlx.core as mx

from lucid_fn.ops.seam import current_part
from lucid_fn.types import Array, ArrayFn

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


def fuse_rows(
    fn: ArrayFn,
    arrays: Sequence[Array],
    by_row: Sequence[Array],
    by_column: Sequence[Array] = (),
) -> Array:
    """`fn(*arrays, *by_row, *by_column)`, elementwise, in one kernel where compiled.

    g++ vectorizes a kernel if all strides of its inner loop are 1, but not if one is 0.
    So rows are taken in runs, and the number of a row is repeated for one run.

    Args:
        fn: as deep as `mx.compile` fuses, 11 operations.
        arrays: `(R, C)` each.
        by_row: `(R, 1)` each.
        by_column: `(C,)` each.
    """
    rows, columns = arrays[0].shape
    run = columns if columns % _RUN else _RUN
    own = (1,) * (current_part() or 0)  # see `distinct_shape_per_part`

    def repeated(x: Array) -> Array:
        if run == columns:
            return x.reshape(*own, rows, 1, 1)
        x = mx.contiguous(mx.broadcast_to(x, (rows, run)))
        return x.reshape(*own, rows, 1, run)

    y: Array = fn(
        *(x.reshape(*own, rows, columns // run, run) for x in arrays),
        *map(repeated, by_row),
        *(x.reshape(columns // run, run) for x in by_column),
    )
    return y.reshape(rows, columns)
