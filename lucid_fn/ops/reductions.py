"""`sum` and `mean`, accurate for millions of numbers."""

import math
from functools import lru_cache
from typing import cast

import mlx.core as mx

from lucid_fn.checks import check_array, check_bool, check_count
from lucid_fn.numerics import blocked_sum, reduced, widen
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.types import Array, ArrayFn

_MAX_NAIVE = 64  # so many numbers, added one after another, are accurate to 1e-6


def sum(
    x: Array, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False
) -> Array:
    """The sum over some axes, accurate to 1e-6 even for 100 million numbers.

    On CPUs `mx.sum` adds one float32 number after another: for a million equal numbers
    it is off by 1e-2, and for 50 million times 0.1 by more than half. Here sums of
    blocks are added, which is as fast or faster. The gradient is a broadcast, as that
    of `mx.sum`.

    Args:
        x: any shape; half precision is accumulated in float32. Integers and bools are
            summed by `mx.sum`.
        axis: one axis or several; all by default.
        keepdims: whether to keep the axes, with length 1.

    Returns:
        Array of the dtype of `x`, and of its shape without the axes; 0 for an empty
        sum.

    Raises:
        TypeError: if `x` is not an MLX array.
        ValueError: if `x` has no such axis, or one is named twice.

    Source: Higham, 1993, "The accuracy of floating point summation", section 3.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.sum(mx.array([[1.0, 2.0], [3.0, 4.0]]), axis=0)
        array([4, 6], dtype=float32)
    """
    check_bool("sum", keepdims=keepdims)
    y = _wide_sum(x, _axes("sum", x, axis), keepdims)
    return y.astype(x.dtype) if _is_inexact(x) else y


def mean(
    x: Array, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False
) -> Array:
    """The mean over some axes, accurate to 1e-6 even for 100 million numbers.

    `sum(x) / n`, as in `sum`. On a CPU, `mx.mean` of 50 million times 0.1 is 0.0419.

    Args:
        x: any shape; half precision is accumulated in float32, so that a mean within
            its range does not overflow. Integers and bools become float32.
        axis: one axis or several; all by default.
        keepdims: whether to keep the axes, with length 1.

    Returns:
        Array of the dtype of `x`, or float32, and of its shape without the axes; NaN
        for the mean of no numbers.

    Raises:
        TypeError: if `x` is not an MLX array.
        ValueError: if `x` has no such axis, or one is named twice.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.mean(mx.full((1_000_000,), 0.1))
        array(0.1, dtype=float32)
    """
    check_bool("mean", keepdims=keepdims)
    axes = _axes("mean", x, axis)
    x = x if _is_inexact(x) else x.astype(mx.float32)
    count = math.prod(x.shape[axis] for axis in axes)
    return (_wide_sum(x, axes, keepdims) / count).astype(x.dtype)


def _wide_sum(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """The sum in float32 at least; `axes` are negative."""
    x = widen(x)
    count = math.prod(x.shape[axis] for axis in axes)
    if count > _MAX_NAIVE and _is_inexact(x):
        y = cast(Array, _sum_over(axes)(x))
    else:
        y = reduced(mx.sum, x, axis=axes, keepdims=True, empty=0)
    return y if keepdims else y.squeeze(axes)


def _is_inexact(x: Array) -> bool:
    return mx.issubdtype(x.dtype, mx.inexact)


@lru_cache(maxsize=64)
def _sum_over(axes: tuple[int, ...]) -> ArrayFn:
    """The sum with its axes kept; MLX would differentiate each slice and copy of it."""

    @custom_function
    def run(x: Array) -> Array:
        x = mx.stop_gradient(x)  # see `with_slope`
        return blocked_sum(x, [axis + x.ndim for axis in axes])

    @run.vjp
    def run_vjp(x: Array, g: Array, _: Array) -> Array:
        return mx.broadcast_to(g, x.shape)

    @run.jvp
    def run_jvp(x: Array, dx: Array) -> Array:
        return cast(Array, run(dx))

    return run


def _axes(caller: str, x: Array, axis: int | tuple[int, ...] | None) -> tuple[int, ...]:
    """The axes as negative numbers, in ascending order."""
    check_array(caller, x=x)
    if axis is None:
        return tuple(range(-x.ndim, 0))
    several = axis if isinstance(axis, tuple | list) else (axis,)
    given = [check_count(caller, "axis", a, at_least=None) for a in several]
    axes = {a - x.ndim if a >= 0 else a for a in given}
    if len(axes) < len(given) or any(not -x.ndim <= a < 0 for a in axes):
        raise ValueError(
            f"{caller}: axis must name axes of x, each once, got {axis} for x of shape "
            f"{x.shape}"
        )
    return tuple(sorted(axes))
