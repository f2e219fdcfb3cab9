"""Piecewise linear activations, and quotients of such.

MLX's own operations, but for `relu`: they fuse with their neighbours and are as fast as
memory. At a kink the slope is PyTorch's.
"""

import mlx.core as mx

from lucid_fn.checks import check_scalar, to_number
from lucid_fn.ops.bias import broadcast
from lucid_fn.ops.called import takes_array, takes_float
from lucid_fn.ops.elementwise import elementwise
from lucid_fn.ops.seam import pointwise
from lucid_fn.types import Array, Scalar


def _positive_part(x: Array) -> Array:
    return mx.maximum(x, 0)


def _positive(x: Array, y: Array) -> Array:
    # Of the output, which the next layer keeps for its gradient in any case: MLX's own
    # derivative keeps the input too, a sixth of the memory of a step of ResNet-18.
    # It is never negative, and the slope at nan is 1, as in PyTorch.
    return (y != 0).astype(y.dtype)


@elementwise(_positive_part, slope=_positive, takes=takes_array)
def relu(x: Array) -> Array:
    """`max(x, 0)`; the slope at 0 is 0.

    Args:
        x: float or integer, any shape.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.relu(mx.array([-1.0, 0.0, 2.0]))
        array([0, 0, 2], dtype=float32)
    """
    return mx.maximum(x, 0)


@pointwise
@takes_array
def relu6(x: Array) -> Array:
    """`min(max(x, 0), 6)`.

    Args:
        x: float or integer, any shape.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.relu6(mx.array([-1.0, 2.0, 7.0]))
        array([0, 2, 6], dtype=float32)
    """
    return hard_tanh(x, 0.0, 6.0)


@pointwise
@takes_array
def relu_squared(x: Array) -> Array:
    """`max(x, 0)^2`.

    Args:
        x: float or integer, any shape.

    Source: So et al., 2021, https://arxiv.org/abs/2109.08668.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.relu_squared(mx.array([-1.0, 3.0]))
        array([0, 9], dtype=float32)
    """
    return mx.square(relu(x))


@pointwise
@takes_float
def leaky_relu(x: Array, negative_slope: Scalar = 0.01) -> Array:
    """`x` where it is positive, else `negative_slope * x`.

    Args:
        x: float, any shape.
        negative_slope: slope below 0.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.leaky_relu(mx.array([-1.0, 2.0]), 0.1)
        array([-0.1, 2], dtype=float32)
    """
    negative_slope = check_scalar("leaky_relu", "negative_slope", negative_slope)
    positive = (x > 0).astype(x.dtype)  # `where` would branch: 4.7 instead of 0.7 ns
    return x * (positive + negative_slope * (1.0 - positive))


@pointwise
@takes_float
def prelu(x: Array, weight: Array) -> Array:
    """`x` where it is positive, else `weight * x`, one weight a channel or one for all.

    Args:
        x: float, shape `(..., C)`.
        weight: float, shape `(C,)`, `(1,)` or `()`.

    Raises:
        ValueError: if the shape of `weight` does not fit.

    Source: He et al., 2015, https://arxiv.org/abs/1502.01852, equation 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.prelu(mx.array([[-1.0, -1.0]]), mx.array([0.1, 0.5]))
        array([[-0.1, -0.5]], dtype=float32)
    """
    if weight.shape not in ((), (1,), x.shape[-1:]):
        raise ValueError(
            f"prelu: weight must have shape () or that of the last axis of x, "
            f"{x.shape[-1:]}, got {weight.shape}"
        )
    positive = x > 0
    weights = broadcast(weight if x.ndim else weight.reshape(()), x)
    # Without the positive numbers: the gradient of the weight at inf would be 0 * inf.
    return mx.where(positive, x, weights * mx.where(positive, 0.0, x))


@pointwise
@takes_array
def hard_tanh(x: Array, low: float = -1.0, high: float = 1.0) -> Array:
    """`x` within the bounds; the slope at a bound is 0.

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
    return mx.where(x <= low, low, mx.where(x >= high, high, x)).astype(x.dtype)


def _inside(x: Array, _: Array) -> Array:
    return mx.where((x > -3) & (x < 3), 1 / 6, 0.0)


def _hard_sigmoid(x: Array) -> Array:
    return mx.minimum(mx.maximum(x + 3.0, 0.0), 6.0) / 6.0


@elementwise(_hard_sigmoid, slope=_inside)
def hard_sigmoid(x: Array) -> Array:
    """A line between 0 and 1: `relu6(x + 3) / 6`; the slope at nan is 0.

    Args:
        x: float, any shape.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.hard_sigmoid(mx.array([-4.0, 0.0, 1.5]))
        array([0, 0.5, 0.75], dtype=float32)
    """
    return _hard_sigmoid(x)


def _hard_swish(x: Array) -> Array:
    return x * _hard_sigmoid(x)  # x * 6 may be too large for float16


def _hard_swish_slope(x: Array, _: Array) -> Array:
    return mx.where(x <= -3, 0.0, mx.where(x < 3, x / 3 + 0.5, 1.0))


@elementwise(_hard_swish, slope=_hard_swish_slope)
def hard_swish(x: Array) -> Array:
    """`x * hard_sigmoid(x)`.

    Args:
        x: float, any shape.

    Source: Howard et al., 2019, https://arxiv.org/abs/1905.02244, section 5.2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.hard_swish(mx.array([-4.0, 0.0, 3.0]))
        array([-0, 0, 3], dtype=float32)
    """
    return _hard_swish(x)


@pointwise
@takes_float
def hard_shrink(x: Array, threshold: Scalar = 0.5) -> Array:
    """`x` where its size is over `threshold`, else 0.

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
    # `not <=`, so that nan stays nan.
    return mx.where(mx.abs(x) <= threshold, 0.0, x)


@pointwise
@takes_float
def soft_shrink(x: Array, threshold: Scalar = 0.5) -> Array:
    """`x` moved towards 0 by `threshold`, to 0 at most.

    Args:
        x: float, any shape.
        threshold: by how much, at least 0.

    Raises:
        ValueError: if `threshold` is negative.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.soft_shrink(mx.array([-1.0, 0.5, 2.0]))
        array([-0.5, 0, 1.5], dtype=float32)
    """
    threshold = check_scalar("soft_shrink", "threshold", threshold, at_least=0)
    return mx.where(mx.abs(x) <= threshold, 0.0, x - mx.sign(x) * threshold)


@pointwise
@takes_float
def softsign(x: Array) -> Array:
    """`x / (1 + |x|)`.

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
    """1 where `x` is at least `threshold`, else 0; its gradient is 0.

    Args:
        x: float or integer, any shape.
        threshold: where the step is.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.step(mx.array([-1.0, 0.0, 2.0]))
        array([0, 1, 1], dtype=float32)
    """
    threshold = check_scalar("step", "threshold", threshold)
    return (x >= threshold).astype(x.dtype)
