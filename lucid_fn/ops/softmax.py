"""Softmax and its logarithm along an axis, with closed-form derivatives."""

from collections.abc import Callable
from functools import lru_cache
from typing import cast

import mlx.core as mx

from lucid_fn.checks import check_count
from lucid_fn.cpu.memory.broadcast import divide, multiply, subtract
from lucid_fn.cpu.memory.row_reductions import row_max, row_sum
from lucid_fn.numerics import blocked_sum
from lucid_fn.ops.called import takes_float
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.elementary import fast_exp, fast_exp_of_negative
from lucid_fn.ops.seam import tuned
from lucid_fn.types import Array, ArrayFn

# MLX's single kernel at 11 ns a number against ten kernels at 3.4 ns: equal here. It
# adds one number after another, which loses digits along a longer axis.
_SMALL, _SHORT = 1 << 11, 128

Along = Callable[[Array, int], Array]


@takes_float
def softmax(x: Array, axis: int = -1) -> Array:
    """Positive numbers that sum to 1 along an axis: `exp(x) / sum(exp(x))`.

    The largest number of `x` is subtracted first, so that nothing overflows.

    Args:
        x: float, any shape but `()`; half precision is computed in float32.
        axis: that of the sum.

    Returns:
        Array of the shape and dtype of `x`, in [0, 1]; nan where all of the axis is
        minus infinity.

    Raises:
        ValueError: if `x` has no such axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.softmax(mx.array([0.0, 0.0, -mx.inf]))
        array([0.5, 0.5, 0], dtype=float32)
    """
    return _apply("softmax", _softmax, x, axis)


@takes_float
def softmin(x: Array, axis: int = -1) -> Array:
    """`softmax(-x)`, see `softmax`.

    Args:
        x: as in `softmax`.
        axis: that of the sum.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.softmin(mx.array([1.0, 1.0]))
        array([0.5, 0.5], dtype=float32)
    """
    return _apply("softmin", _softmax, -x, axis)


@takes_float
def log_softmax(x: Array, axis: int = -1) -> Array:
    """The logarithm of `softmax`: `x - logsumexp(x)`.

    Args:
        x: float, any shape but `()`; half precision is computed in float32.
        axis: that of the sum.

    Returns:
        Array of the shape and dtype of `x`, at most 0; nan where all of the axis is
        minus infinity.

    Raises:
        ValueError: if `x` has no such axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.log_softmax(mx.array([0.0, 0.0]))
        array([-0.693147, -0.693147], dtype=float32)
    """
    return _apply("log_softmax", _log_softmax, x, axis)


@takes_float
def logsumexp(x: Array, axis: int = -1, *, keepdims: bool = False) -> Array:
    """A smooth maximum along an axis: `log(sum(exp(x)))`.

    Args:
        x: float, any shape but `()`; half precision is computed in float32.
        axis: that of the sum.
        keepdims: whether the axis stays, with length 1.

    Returns:
        Array of the dtype of `x` and of its shape less the axis.

    Raises:
        ValueError: if `x` has no such axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.logsumexp(mx.array([0.0, 0.0]))
        array(0.693147, dtype=float32)
    """
    y = _apply("logsumexp", _logsumexp, x, axis)
    return y if keepdims else y.squeeze(axis)


def _apply(name: str, make: Callable[[int], ArrayFn], x: Array, axis: int) -> Array:
    axis = check_count(name, "axis", axis, at_least=None)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"{name}: axis must be one of x, got {axis} for x of shape {x.shape}"
        )
    if x.size == 0:  # MLX has no maximum of nothing
        return x if make is not _logsumexp else _log_of_no_sum(x, axis)
    # Counted from the end: a mapped axis comes first.
    return cast(Array, make(axis - x.ndim if axis >= 0 else axis)(x))


def is_small(x: Array, axis: int = -1) -> bool:
    """Whether MLX's own kernel is the better one on a CPU."""
    return x.size < _SMALL and x.shape[axis] <= _SHORT


def _many(x: Array, axis: int) -> bool:
    return tuned() and not is_small(x, axis)


def _log_of_no_sum(x: Array, axis: int) -> Array:
    total = mx.sum(x, axis=axis, keepdims=True)
    return total if x.shape[axis] else total - mx.inf


def _less_largest(x: Array, axis: int) -> Array:
    if axis == -1:
        rows = x.reshape(-1, x.shape[-1])
        return subtract(rows, row_max(rows)).reshape(x.shape)
    return subtract(x, mx.max(x, axis=axis, keepdims=True))


def _probabilities(x: Array, axis: int) -> Array:
    if not _many(x, axis):
        return mx.softmax(x, axis=axis)
    e = mx.contiguous(fast_exp_of_negative(_less_largest(x, axis)))
    return divide(e, _sum(e, axis))


def _log_probabilities(x: Array, axis: int) -> Array:
    shifted = _less_largest(x, axis)
    return subtract(shifted, log_sum_of_shifted(shifted, axis))


def log_sum_of_shifted(shifted: Array, axis: int) -> Array:
    """`logsumexp` of float32 whose largest number is 0; keeps the axis."""
    if not _many(shifted, axis):
        return mx.logsumexp(shifted, axis=axis, keepdims=True)
    return mx.log(_sum(mx.contiguous(fast_exp_of_negative(shifted)), axis))


def _log_sum(x: Array, axis: int) -> Array:
    if not _many(x, axis):
        return mx.logsumexp(x, axis=axis, keepdims=True)
    # An infinite maximum is the result, exp(inf - inf) is not.
    largest = mx.max(x, axis=axis, keepdims=True)
    finite = mx.where(mx.isinf(largest), 0.0, largest)
    return finite + mx.log(_sum(fast_exp(x - finite), axis))


def _along(
    axis: int, forward: Along, vjp: Callable[..., Array], jvp: Callable[..., Array]
) -> ArrayFn:
    """A function of float32 along an axis, from `(x, axis)` and its derivatives.

    `vjp` and `jvp` take `x`, its tangent or the cotangent of the result, and `axis`.
    """

    def in_float32(fn: Callable[..., Array], *arrays: Array) -> Array:
        return fn(*(a.astype(mx.float32) for a in arrays), axis).astype(arrays[0].dtype)

    @custom_function
    def run(x: Array) -> Array:
        return in_float32(forward, mx.stop_gradient(x))  # for jvp: see elementwise

    @run.vjp
    def run_vjp(x: Array, g: Array, _: Array) -> Array:
        return in_float32(vjp, x, g)

    @run.jvp
    def run_jvp(x: Array, dx: Array) -> Array:
        return in_float32(jvp, x, dx)

    return cast(ArrayFn, run)


def _sum(x: Array, axis: int) -> Array:
    if axis == -1:
        return row_sum(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], 1)
    return blocked_sum(x, [axis + x.ndim])


@lru_cache(maxsize=64)
def _softmax(axis: int) -> ArrayFn:
    def derivative(x: Array, dx: Array, axis: int) -> Array:
        y = softmax(x, axis)
        return y * subtract(dx, _sum(mx.contiguous(y * dx), axis))

    return _along(axis, _probabilities, derivative, derivative)


@lru_cache(maxsize=64)
def _log_softmax(axis: int) -> ArrayFn:
    return _along(
        axis,
        _log_probabilities,
        vjp=lambda x, g, axis: g - multiply(softmax(x, axis), _sum(g, axis)),
        jvp=lambda x, dx, axis: dx - _sum(softmax(x, axis) * dx, axis),
    )


@lru_cache(maxsize=64)
def _logsumexp(axis: int) -> ArrayFn:
    return _along(
        axis,
        _log_sum,
        vjp=lambda x, g, axis: multiply(softmax(x, axis), g),
        jvp=lambda x, dx, axis: _sum(softmax(x, axis) * dx, axis),
    )
