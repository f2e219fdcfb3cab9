"""Softmax, its logarithm, and the logarithm of a sum of exponentials."""

from collections.abc import Callable
from functools import lru_cache
from typing import cast

import mlx.core as mx

from lucid_fn.checks import check_bool, check_count
from lucid_fn.numerics import reduced, widen
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.input_checks import takes_float
from lucid_fn.ops.seam import replaceable
from lucid_fn.types import Array, ArrayFn

Along = Callable[[Array, int], Array]


@takes_float
def softmax(x: Array, axis: int = -1) -> Array:
    """The softmax along an axis, `exp(x) / sum(exp(x))`: probabilities that sum to 1.

    The maximum of `x` is subtracted first, so that nothing overflows.

    Args:
        x: float, any shape but `()`; half precision is computed in float32.
        axis: the axis of the sum.

    Returns:
        Array of the shape and dtype of `x`, in [0, 1]; NaN where all numbers
        along the axis are minus infinity.

    Raises:
        TypeError: if `x` is not an MLX array of a float dtype.
        ValueError: if `x` has no such axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.softmax(mx.array([0.0, 0.0, -mx.inf]))
        array([0.5, 0.5, 0], dtype=float32)
    """
    return _apply("softmax", softmax_along, x, axis)


@takes_float
def softmin(x: Array, axis: int = -1) -> Array:
    """The softmax of `-x` along an axis.

    Args:
        x: float, any shape but `()`; half precision is computed in float32.
        axis: the axis of the sum.

    Returns:
        Array of the shape and dtype of `x`, in [0, 1]; NaN where all numbers
        along the axis are infinity.

    Raises:
        TypeError: if `x` is not an MLX array of a float dtype.
        ValueError: if `x` has no such axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.softmin(mx.array([1.0, 1.0]))
        array([0.5, 0.5], dtype=float32)
    """
    return _apply("softmin", softmax_along, -x, axis)


@takes_float
def log_softmax(x: Array, axis: int = -1) -> Array:
    """The logarithm of the softmax along an axis, `x - logsumexp(x)`.

    Args:
        x: float, any shape but `()`; half precision is computed in float32.
        axis: the axis of the sum.

    Returns:
        Array of the shape and dtype of `x`, at most 0; NaN where all numbers
        along the axis are minus infinity.

    Raises:
        TypeError: if `x` is not an MLX array of a float dtype.
        ValueError: if `x` has no such axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.log_softmax(mx.array([0.0, 0.0]))
        array([-0.693147, -0.693147], dtype=float32)
    """
    return _apply("log_softmax", log_softmax_along, x, axis)


@takes_float
def logsumexp(x: Array, axis: int = -1, *, keepdims: bool = False) -> Array:
    """The logarithm of the sum of exponentials along an axis, `log(sum(exp(x)))`.

    It is a smooth maximum: at least the largest number, and close to it if the others
    are much smaller.

    Args:
        x: float, any shape but `()`; half precision is computed in float32.
        axis: the axis of the sum.
        keepdims: whether to keep the axis, with length 1.

    Returns:
        Array of the dtype of `x`, and of its shape without the axis. The gradient is
        the softmax; for finite numbers beside infinity it is 0, as in PyTorch and JAX.

    Raises:
        TypeError: if `x` is not an MLX array of a float dtype.
        ValueError: if `x` has no such axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.logsumexp(mx.array([0.0, 0.0]))
        array(0.693147, dtype=float32)
    """
    check_bool("logsumexp", keepdims=keepdims)
    y = _apply("logsumexp", logsumexp_along, x, axis)
    return y if keepdims else y.squeeze(axis)


def _apply(name: str, fn: Along, x: Array, axis: int) -> Array:
    axis = check_count(name, "axis", axis, at_least=None)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"{name}: axis must be one of x, got {axis} for x of shape {x.shape}"
        )
    if x.size == 0:  # of which MLX has no maximum
        if fn is not logsumexp_along:
            return x
        return reduced(mx.sum, x, axis=axis, keepdims=True, empty=-mx.inf)
    # Negative, since `vmap` adds an axis in front.
    return fn(x, axis - x.ndim if axis >= 0 else axis)


@replaceable
def softmax_along(x: Array, axis: int) -> Array:
    """`softmax` of an array that is not empty, along a negative axis."""
    y: Array = mx.softmax(widen(x), axis=axis).astype(x.dtype)
    return y


@replaceable
def log_softmax_along(x: Array, axis: int) -> Array:
    """`log_softmax` of an array that is not empty, along a negative axis."""
    wide = widen(x)
    # No gradient: the result does not depend on the number subtracted.
    shifted = wide - mx.stop_gradient(mx.max(wide, axis=axis, keepdims=True))
    y: Array = shifted - mx.logsumexp(shifted, axis=axis, keepdims=True)
    return y.astype(x.dtype)


@replaceable
def logsumexp_along(x: Array, axis: int) -> Array:
    """`logsumexp` along a negative axis, which is kept."""
    y: Array = _logsumexp(axis)(widen(x))
    return y.astype(x.dtype)


@lru_cache(maxsize=64)
def _logsumexp(axis: int) -> ArrayFn:
    @custom_function
    def run(x: Array) -> Array:
        return mx.logsumexp(mx.stop_gradient(x), axis=axis, keepdims=True)

    def slopes(x: Array) -> Array:
        return slopes_of_logsumexp(x, mx.softmax(x, axis=axis), axis)

    @run.vjp
    def run_vjp(x: Array, g: Array, _: Array) -> Array:
        return slopes(x) * g

    @run.jvp
    def run_jvp(x: Array, dx: Array) -> Array:
        return mx.sum(slopes(x) * dx, axis=axis, keepdims=True)

    return cast(ArrayFn, run)


def slopes_of_logsumexp(x: Array, softmax: Array, axis: int) -> Array:
    """`exp(x - logsumexp(x))`: the softmax, but 0 for finite numbers beside infinity.

    There the softmax is NaN.
    """
    largest = mx.max(x, axis=axis, keepdims=True)
    return mx.where(mx.logical_and(largest == mx.inf, x < mx.inf), 0.0, softmax)
