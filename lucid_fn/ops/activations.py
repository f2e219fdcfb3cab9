"""Activations; at a kink the slope is PyTorch's."""

import math
from functools import lru_cache

import mlx.core as mx

from lucid_fn.checks import check_count, check_scalar, to_number
from lucid_fn.ops.bias import broadcast
from lucid_fn.ops.concatenation import split_evenly
from lucid_fn.ops.elementwise import (
    Function,
    elementwise,
    erf,
    exp,
    expm1_of_negative,
    rounded_once,
    sigmoid,
    softplus,
    tanh,
    with_slope,
)
from lucid_fn.ops.input_checks import takes_array, takes_float
from lucid_fn.ops.seam import examplewise, pointwise
from lucid_fn.types import Array, Scalar

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def _relu_slope(x: Array, y: Array) -> Array:
    # From the output, which the next layer keeps for its gradient anyway. MLX's own
    # derivative keeps the input too: a sixth of the memory of a step of ResNet-18. The
    # output is never negative, and the slope at nan is 1, as in PyTorch.
    return mx.where(y != 0, 1.0, 0.0)


@elementwise(slope=_relu_slope, takes=takes_array)
def relu(x: Array) -> Array:
    """Rectified linear unit, `max(x, 0)`; the slope at 0 is 0.

    Args:
        x: float or integer, any shape.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.relu(mx.array([-1.0, 0.0, 2.0]))
        array([0, 0, 2], dtype=float32)
    """
    return mx.maximum(x, 0)


def _relu6_slope(_: Array, y: Array) -> Array:
    return mx.where(y <= 0, 0.0, mx.where(y >= 6, 0.0, 1.0))  # as in `_relu_slope`


@elementwise(slope=_relu6_slope, takes=takes_array)
def relu6(x: Array) -> Array:
    """ReLU with an upper bound, `min(max(x, 0), 6)`.

    Args:
        x: float or integer, any shape.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.relu6(mx.array([-1.0, 2.0, 7.0]))
        array([0, 2, 6], dtype=float32)
    """
    return mx.minimum(mx.maximum(x, 0), 6)


@pointwise
@takes_array
def relu_squared(x: Array) -> Array:
    """Squared ReLU, `max(x, 0)^2`.

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
@rounded_once
def leaky_relu(x: Array, negative_slope: Scalar = 0.01) -> Array:
    """Leaky ReLU: `x` where it is positive, else `negative_slope * x`.

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
    if isinstance(negative_slope, float):
        return _leaky(negative_slope)(x)
    return x * mx.where(x > 0, 1.0, negative_slope)


@lru_cache(maxsize=64)
def _leaky(negative_slope: float) -> Function:
    # Value and slope have different conditions, since `mx.compile` would compute a
    # shared one by a kernel of its own.
    def leaky(x: Array) -> Array:
        return mx.where(x <= 0, negative_slope * x, x)

    return with_slope(leaky, lambda x, _: mx.where(x > 0, 1.0, negative_slope))


@pointwise
@takes_float
def prelu(x: Array, weight: Array) -> Array:
    """Parametric ReLU: `x` where it is positive, else `weight * x`.

    Args:
        x: float, shape `(..., C)`.
        weight: float, shape `(C,)` for one slope per channel, or `(1,)` or `()` for a
            single one.

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
    # Not `weights * x`: at infinity the gradient of the weight would be 0 * inf.
    return mx.where(positive, x, weights * mx.where(positive, 0.0, x))


@examplewise
@takes_float
@rounded_once
def elu(x: Array, alpha: Scalar = 1.0) -> Array:
    """Exponential linear unit: `x` where it is positive, else `alpha * (exp(x) - 1)`.

    Args:
        x: float, any shape.
        alpha: the limit at minus infinity is `-alpha`.

    Source: Clevert et al., 2015, https://arxiv.org/abs/1511.07289, equation 15.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.elu(mx.array([-1.0, 0.0, 2.0]))
        array([-0.632121, 0, 2], dtype=float32)
    """
    alpha = check_scalar("elu", "alpha", alpha)
    return _elu(x, alpha, 1.0)


def _elu(x: Array, alpha: Scalar, width: Scalar) -> Array:
    """`x` where it is positive, else `alpha * (exp(x / width) - 1)`."""
    if isinstance(alpha, float) and isinstance(width, float):
        return _elu_of_floats(alpha, width)(x)
    return relu(x) + alpha * expm1_of_negative(x / width)


@lru_cache(maxsize=64)
def _elu_of_floats(alpha: float, width: float) -> Function:
    def unit(x: Array) -> Array:
        return mx.where(x < 0, alpha * expm1_of_negative(x / width), x)

    def slope(x: Array, y: Array) -> Array:
        return mx.where(x <= 0, (y + alpha) / width, 1.0)

    return with_slope(unit, slope)


@examplewise
@takes_float
@rounded_once
def celu(x: Array, alpha: Scalar = 1.0) -> Array:
    """Continuously differentiable ELU.

    `x` where it is positive, else `alpha * (exp(x / alpha) - 1)`.

    Args:
        x: float, any shape.
        alpha: positive; the limit at minus infinity is `-alpha`.

    Raises:
        ValueError: if `alpha` is not positive.

    Source: Barron, 2017, https://arxiv.org/abs/1704.07483, equation 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.celu(mx.array([-1.0, 0.0, 2.0]), 2.0)
        array([-0.786939, 0, 2], dtype=float32)
    """
    alpha = check_scalar("celu", "alpha", alpha, above=0)
    return _elu(x, alpha, alpha)


@examplewise
@takes_float
@rounded_once
def selu(x: Array) -> Array:
    """Scaled ELU, `1.0507 * elu(x, 1.67326)`, with both constants to full precision.

    The constants keep zero mean and unit variance from layer to layer.

    Args:
        x: float, any shape.

    Source: Klambauer et al., 2017, https://arxiv.org/abs/1706.02515, equation 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.selu(mx.array([-1.0, 0.0, 2.0]))
        array([-1.11133, 0, 2.1014], dtype=float32)
    """
    return _SELU_SCALE * elu(x, _SELU_ALPHA)


def _silu_slope(x: Array, _: Array) -> Array:
    s = sigmoid(x)
    return s * (1.0 + x * (1.0 - s))


@elementwise(slope=_silu_slope)
def silu(x: Array) -> Array:
    """Sigmoid linear unit, `x * sigmoid(x)`, also called swish.

    Args:
        x: float, any shape.

    Source: Elfwing et al., 2017, https://arxiv.org/abs/1702.03118.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.silu(mx.array([-1.0, 0.0, 2.0]))
        array([-0.268941, 0, 1.76159], dtype=float32)
    """
    return x * mx.sigmoid(x)


def _gelu_slope(x: Array, _: Array) -> Array:
    density = exp(-0.5 * (x * x)) / math.sqrt(2 * math.pi)
    return 0.5 + 0.5 * erf(x / math.sqrt(2)) + x * density


@elementwise(slope=_gelu_slope)
def gelu(x: Array) -> Array:
    """Gaussian error linear unit, `x / 2 * (1 + erf(x / sqrt(2)))`.

    This is `x` times the probability that a standard normal variable is less than
    `x`, exactly; see `gelu_tanh` for the approximation.

    Args:
        x: float, any shape.

    Source: Hendrycks & Gimpel, 2016, https://arxiv.org/abs/1606.08415, section 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.gelu(mx.array([-1.0, 0.0, 2.0]))
        array([-0.158655, 0, 1.9545], dtype=float32)
    """
    return 0.5 * x * (1.0 + mx.erf(x / math.sqrt(2)))


_GELU_CUBIC = 0.044715
_GELU_LINEAR = math.sqrt(2 / math.pi)


def _gelu_tanh_slope(x: Array, _: Array) -> Array:
    s = x * x
    t = tanh(_GELU_LINEAR * (x * (1.0 + _GELU_CUBIC * s)))
    inner = _GELU_LINEAR * (1.0 + 3 * _GELU_CUBIC * s)
    return 0.5 * (1.0 + t) + 0.5 * x * ((1.0 - t * t) * inner)


@elementwise(slope=_gelu_tanh_slope)
def gelu_tanh(x: Array) -> Array:
    """GELU approximated by a hyperbolic tangent, with an error of at most 5e-4.

    `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`, as in GPT-2.

    Args:
        x: float, any shape.

    Source: Hendrycks & Gimpel, 2016, https://arxiv.org/abs/1606.08415, section 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.gelu_tanh(mx.array([-1.0, 0.0, 2.0]))
        array([-0.158808, 0, 1.9546], dtype=float32)
    """
    inner = _GELU_LINEAR * (x * (1.0 + _GELU_CUBIC * (x * x)))
    return 0.5 * x * (1.0 + mx.tanh(inner))


@examplewise
@takes_float
@rounded_once
def gelu_sigmoid(x: Array) -> Array:
    """GELU approximated by a logistic function, with an error of at most 0.0204.

    `x * sigmoid(1.702 * x)`.

    Args:
        x: float, any shape.

    Source: Hendrycks & Gimpel, 2016, https://arxiv.org/abs/1606.08415, section 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.gelu_sigmoid(mx.array([-1.0, 0.0, 2.0]))
        array([-0.154204, 0, 1.93566], dtype=float32)
    """
    return x * sigmoid(1.702 * x)


def _mish_slope(x: Array, _: Array) -> Array:
    t = tanh(softplus(x))
    return t + x * (sigmoid(x) * (1.0 - t * t))


@elementwise(slope=_mish_slope)
def mish(x: Array) -> Array:
    """Mish, `x * tanh(softplus(x))`.

    Args:
        x: float, any shape.

    Source: Misra, 2019, https://arxiv.org/abs/1908.08681, equation 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.mish(mx.array([-1.0, 0.0, 2.0]))
        array([-0.303401, 0, 1.94396], dtype=float32)
    """
    return x * mx.tanh(mx.logaddexp(x, 0.0))


@takes_float
@rounded_once
def glu(x: Array, axis: int = -1) -> Array:
    """Gated linear unit: `a * sigmoid(b)`, where `a` and `b` are halves of an axis.

    Args:
        x: float, any shape but `()`.
        axis: the axis that is split; its length must be even.

    Returns:
        Float array, half as long along that axis.

    Raises:
        ValueError: if `x` has no such axis or its length is odd.

    Source: Dauphin et al., 2016, https://arxiv.org/abs/1612.08083, equation 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.glu(mx.array([2.0, 3.0, 0.0, 100.0]))
        array([1, 3], dtype=float32)
    """
    axis = check_count("glu", "axis", axis, at_least=None)
    if not -x.ndim <= axis < x.ndim or x.shape[axis] % 2:
        raise ValueError(
            "glu: axis must be one of x, of even length, "
            f"got {axis} for x of shape {x.shape}"
        )
    a, b = split_evenly(x, 2, axis)
    return a * sigmoid(b)


# ---- piecewise linear activations, shrinkage and steps ----


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
    # Not `>`, so that nan stays nan.
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
    return 1.0 / mx.square(1.0 + mx.abs(x)) + 0.0 * x  # nan at infinity, as in PyTorch


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
