"""Activations that are piecewise linear or nearly so: hard versions, shrinkage, steps.

At a kink the slope is PyTorch's.
"""

from functools import lru_cache

import mlx.core as mx

from lucid_fn.checks import check_scalar, to_number
from lucid_fn.ops.elementary import tanh
from lucid_fn.ops.elementwise import Function, elementwise, rounded_once, with_slope
from lucid_fn.ops.input_checks import takes_array, takes_float
from lucid_fn.ops.seam import examplewise, pointwise
from lucid_fn.types import Array, Scalar


@pointwise
@takes_array
def hard_tanh(x: Array, low: float = -1.0, high: float = 1.0) -> Array:
    """`x` clipped to `[low, high]`; the slope at a bound is 0.

    Args:
        x: float or integer, any shape.
        low: lower bound.
        high: upper bound, greater than `low`.

    Raises:
        ValueError: unless `low < high`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.hard_tanh(mx.array([-2.0, 0.5, 2.0]))
        array([-1, 0.5, 1], dtype=float32)
    """
    low = to_number("hard_tanh", "low", low)
    high = to_number("hard_tanh", "high", high)
    if not low < high:
        raise ValueError(f"hard_tanh: low must be below high, got {low} and {high}")
    return _clip(low, high)(x)


@lru_cache(maxsize=64)
def _clip(low: float, high: float) -> Function:
    def clip(x: Array) -> Array:
        return mx.where(x <= low, low, mx.where(x >= high, high, x)).astype(x.dtype)

    def slope(_: Array, y: Array) -> Array:
        return mx.where(y <= low, 0.0, mx.where(y >= high, 0.0, 1.0))

    clip_float = with_slope(clip, slope)
    return lambda x: (clip_float if mx.issubdtype(x.dtype, mx.floating) else clip)(x)


def _ramp(x: Array) -> Array:
    return mx.minimum(mx.maximum(x + 3.0, 0.0), 6.0) / 6.0


def _ramp_slope(x: Array, _: Array) -> Array:
    return mx.where(x <= -3, 0.0, mx.where(x < 3, 1 / 6, 0.0))


@elementwise(slope=_ramp_slope)
def hard_sigmoid(x: Array) -> Array:
    """A piecewise linear sigmoid, `relu6(x + 3) / 6`; the slope at nan is 0.

    Args:
        x: float, any shape.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.hard_sigmoid(mx.array([-4.0, 0.0, 1.5]))
        array([0, 0.5, 0.75], dtype=float32)
    """
    return _ramp(x)


def _hard_swish_slope(x: Array, _: Array) -> Array:
    return mx.where(x <= -3, 0.0, mx.where(x < 3, x / 3 + 0.5, 1.0))


@elementwise(slope=_hard_swish_slope)
def hard_swish(x: Array) -> Array:
    """A piecewise quadratic SiLU, `x * hard_sigmoid(x)`.

    Args:
        x: float, any shape.

    Source: Howard et al., 2019, https://arxiv.org/abs/1905.02244, section 5.2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.hard_swish(mx.array([-4.0, 0.0, 3.0]))
        array([-0, 0, 3], dtype=float32)
    """
    return x * _ramp(x)


@pointwise
@takes_float
def hard_shrink(x: Array, threshold: Scalar = 0.5) -> Array:
    """Hard shrinkage: `x` where `|x| > threshold`, else 0.

    Args:
        x: float, any shape.
        threshold: values within `[-threshold, threshold]` become 0.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.hard_shrink(mx.array([-1.0, 0.5, 2.0]))
        array([-1, 0, 2], dtype=float32)
    """
    threshold = check_scalar("hard_shrink", "threshold", threshold)
    if isinstance(threshold, float):
        return _hard_shrink(threshold)(x)
    # `not <=`, so that nan stays nan.
    return mx.where(mx.abs(mx.stop_gradient(x)) <= threshold, 0.0, x)


@lru_cache(maxsize=64)
def _hard_shrink(threshold: float) -> Function:
    def shrink(x: Array) -> Array:
        return mx.where(mx.abs(x) <= threshold, 0.0, x)

    at_0 = 1.0 if threshold < 0 else 0.0
    return with_slope(shrink, lambda _, y: mx.where(y == 0, at_0, 1.0))


@pointwise
@takes_float
@rounded_once
def soft_shrink(x: Array, threshold: Scalar = 0.5) -> Array:
    """Soft shrinkage, `sign(x) * max(|x| - threshold, 0)`.

    Args:
        x: float, any shape.
        threshold: how far `x` is moved towards 0; at least 0.

    Raises:
        ValueError: if `threshold` is negative.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.soft_shrink(mx.array([-1.0, 0.5, 2.0]))
        array([-0.5, 0, 1.5], dtype=float32)
    """
    threshold = check_scalar("soft_shrink", "threshold", threshold, at_least=0)
    if isinstance(threshold, float):
        return _soft_shrink(threshold)(x)
    return _shrunk(x, threshold)


@lru_cache(maxsize=64)
def _soft_shrink(threshold: float) -> Function:
    def shrink(x: Array) -> Array:
        return _shrunk(x, threshold)

    return with_slope(shrink, lambda _, y: mx.where(y == 0, 0.0, 1.0))


def _shrunk(x: Array, threshold: Scalar) -> Array:
    return mx.where(mx.abs(x) <= threshold, 0.0, x - mx.sign(x) * threshold)


@examplewise
@takes_float
@rounded_once
def tanh_shrink(x: Array) -> Array:
    """Tanh shrinkage, `x - tanh(x)`.

    Args:
        x: float, any shape.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.tanh_shrink(mx.array([0.0, 1.0]))
        array([0, 0.238406], dtype=float32)
    """
    return x - tanh(x)


def _softsign_slope(x: Array, _: Array) -> Array:
    return 1.0 / mx.square(1.0 + mx.abs(x)) + 0.0 * x  # nan at infinity, as there


@elementwise(slope=_softsign_slope)
def softsign(x: Array) -> Array:
    """Softsign, `x / (1 + |x|)`.

    Args:
        x: float, any shape.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.softsign(mx.array([-1.0, 3.0]))
        array([-0.5, 0.75], dtype=float32)
    """
    return x / (1.0 + mx.abs(x))


@pointwise
@takes_array
def step(x: Array, threshold: Scalar = 0.0) -> Array:
    """The Heaviside step: 1 where `x >= threshold`, else 0. Its gradient is 0.

    Args:
        x: float or integer, any shape.
        threshold: position of the step, which is included.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.step(mx.array([-1.0, 0.0, 2.0]))
        array([0, 1, 1], dtype=float32)
    """
    threshold = check_scalar("step", "threshold", threshold)
    return (x >= threshold).astype(x.dtype)
