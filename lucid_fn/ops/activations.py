"""Smooth activations, built on `lucid_fn.ops.elementary`.

Those with one formula have a kernel sequence and a slope of their own; the others
compose. Times: a number in a compiled function on one core, against MLX's formula.
"""

import math

import mlx.core as mx

from lucid_fn.checks import check_count, check_scalar
from lucid_fn.ops.called import takes_float
from lucid_fn.ops.elementary import (
    erf,
    exp,
    expm1_of_negative,
    fast_erf,
    fast_exp_minus_abs,
    fast_sigmoid,
    fast_tanh,
    sigmoid,
    softplus,
    tanh,
)
from lucid_fn.ops.elementwise import elementwise
from lucid_fn.ops.rectifiers import relu
from lucid_fn.ops.seam import examplewise
from lucid_fn.types import Array, ArrayFn, Scalar

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def _silu_slope(x: Array, y: Array) -> Array:
    s = sigmoid(x)
    return s + y * (1.0 - s)


@elementwise(lambda x: x * fast_sigmoid(x), slope=_silu_slope)
def silu(x: Array) -> Array:
    """`x * sigmoid(x)`, also called swish.

    Args:
        x: float, any shape.

    Returns:
        Float array of the shape and dtype of `x`.

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


@elementwise(
    lambda x: 0.5 * x * (1.0 + mx.contiguous(fast_erf(x / math.sqrt(2)))),
    slope=_gelu_slope,
)
def gelu(x: Array) -> Array:
    """`x` times the probability that a standard normal number is less than `x`.

    `x / 2 * (1 + erf(x / sqrt(2)))`, exact: see `gelu_tanh` for the approximation.

    Args:
        x: float, any shape.

    Returns:
        Float array of the shape and dtype of `x`.

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


def _fast_gelu_tanh(x: Array) -> Array:
    z = mx.contiguous(_GELU_LINEAR * (x * (1.0 + _GELU_CUBIC * (x * x))))
    return 0.5 * x * (1.0 + mx.contiguous(fast_tanh(z)))


@elementwise(_fast_gelu_tanh, slope=_gelu_tanh_slope)
def gelu_tanh(x: Array) -> Array:
    """`gelu` by a hyperbolic tangent, at most 5e-4 off.

    `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`, as in GPT-2.

    Args:
        x: float, any shape.

    Returns:
        Float array of the shape and dtype of `x`.

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
def gelu_sigmoid(x: Array) -> Array:
    """`gelu` by a logistic function, `x * sigmoid(1.702 * x)`: at most 0.0204 off.

    Args:
        x: float, any shape.

    Returns:
        Float array of the shape and dtype of `x`.

    Source: Hendrycks & Gimpel, 2016, https://arxiv.org/abs/1606.08415, section 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.gelu_sigmoid(mx.array([-1.0, 0.0, 2.0]))
        array([-0.154204, 0, 1.93566], dtype=float32)
    """
    return x * sigmoid(1.702 * x)


def _fast_mish(x: Array) -> Array:
    # tanh(log(1 + exp(x))) = n / (n + 2) with n = exp(x) * (exp(x) + 2), multiplied by
    # exp(-2x) where that is small.
    e = fast_exp_minus_abs(x)
    a = mx.contiguous(mx.where(x < 0, e, 1.0))
    b = mx.contiguous((1.0 + e) - a)
    n = a * (a + 2.0 * b)
    return x * (n / (n + 2.0 * (b * b)))


def _mish_slope(x: Array, _: Array) -> Array:
    t = tanh(softplus(x))
    return t + x * (sigmoid(x) * (1.0 - t * t))


@elementwise(_fast_mish, slope=_mish_slope)
def mish(x: Array) -> Array:
    """`x * tanh(softplus(x))`.

    Args:
        x: float, any shape.

    Returns:
        Float array of the shape and dtype of `x`.

    Source: Misra, 2019, https://arxiv.org/abs/1908.08681, equation 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.mish(mx.array([-1.0, 0.0, 2.0]))
        array([-0.303401, 0, 1.94396], dtype=float32)
    """
    return x * mx.tanh(mx.logaddexp(x, 0.0))


def _widened(formula: ArrayFn, x: Array) -> Array:
    """The formula in float32: slopes found from rounded values lose small numbers."""
    half = x.dtype in (mx.float16, mx.bfloat16)
    y: Array = formula(x.astype(mx.float32) if half else x)
    return y.astype(x.dtype) if half else y


@examplewise
@takes_float
def elu(x: Array, alpha: Scalar = 1.0) -> Array:
    """`x` where it is positive, else `alpha * (exp(x) - 1)`.

    Args:
        x: float, any shape.
        alpha: minus the limit at minus infinity.

    Returns:
        Float array of the shape and dtype of `x`.

    Source: Clevert et al., 2015, https://arxiv.org/abs/1511.07289, equation 15.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.elu(mx.array([-1.0, 0.0, 2.0]))
        array([-0.632121, 0, 2], dtype=float32)
    """
    alpha = check_scalar("elu", "alpha", alpha)
    return _widened(lambda x: relu(x) + alpha * expm1_of_negative(x), x)


@examplewise
@takes_float
def celu(x: Array, alpha: Scalar = 1.0) -> Array:
    """`x` where it is positive, else `alpha * (exp(x / alpha) - 1)`.

    Args:
        x: float, any shape.
        alpha: minus the limit at minus infinity; positive.

    Returns:
        Float array of the shape and dtype of `x`.

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
    return _widened(lambda x: relu(x) + alpha * expm1_of_negative(x / alpha), x)


@examplewise
@takes_float
def selu(x: Array) -> Array:
    """`elu` scaled such that unit variance and zero mean are kept from layer to layer.

    `1.0507 * elu(x, 1.67326)`, both constants to full precision.

    Args:
        x: float, any shape.

    Returns:
        Float array of the shape and dtype of `x`.

    Source: Klambauer et al., 2017, https://arxiv.org/abs/1706.02515, equation 2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.selu(mx.array([-1.0, 0.0, 2.0]))
        array([-1.11133, 0, 2.1014], dtype=float32)
    """
    return _widened(lambda x: _SELU_SCALE * elu(x, _SELU_ALPHA), x)


@takes_float
def glu(x: Array, axis: int = -1) -> Array:
    """The first half of an axis times the sigmoid of the second half.

    Args:
        x: float, any shape but `()`.
        axis: the axis that is halved; its length is even.

    Returns:
        Float array with half of that axis.

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
    a, b = mx.split(x, 2, axis=axis)
    return a * sigmoid(b)


@examplewise
@takes_float
def tanh_shrink(x: Array) -> Array:
    """`x - tanh(x)`.

    Args:
        x: float, any shape.

    Returns:
        Float array of the shape and dtype of `x`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.tanh_shrink(mx.array([0.0, 1.0]))
        array([0, 0.238406], dtype=float32)
    """
    return x - tanh(x)
