"""exp, tanh, sigmoid, erf and log(1 + exp(x)), with derivatives of any order."""

import mlx.core as mx

from lucid_fn.checks import check_scalar
from lucid_fn.ops.elementwise import elementwise, rounded_once
from lucid_fn.ops.export_trace import contiguous
from lucid_fn.ops.input_checks import takes_float
from lucid_fn.ops.seam import pointwise
from lucid_fn.types import Array, Scalar


@elementwise(slope=lambda _, y: 1.0 - y * y)
def tanh(x: Array) -> Array:
    """The hyperbolic tangent, `(exp(x) - exp(-x)) / (exp(x) + exp(-x))`.

    Args:
        x: float, any shape.

    Returns:
        Array of the shape and dtype of `x`, in [-1, 1].

    Raises:
        TypeError: if `x` is not an MLX array of a float dtype.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.tanh(mx.array([-1.0, 0.0, 100.0]))
        array([-0.761594, 0, 1], dtype=float32)
    """
    return mx.tanh(x)


@elementwise(slope=lambda _, y: y)
def exp(x: Array) -> Array:
    """The exponential function.

    In float32 it is infinite above 88.7228, denormal below -87.3, and 0 below -103.97.

    Args:
        x: float, any shape.

    Returns:
        Array of the shape and dtype of `x`, at least 0.

    Raises:
        TypeError: if `x` is not an MLX array of a float dtype.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.exp(mx.array([-200.0, 0.0, 1.0]))
        array([0, 1, 2.71828], dtype=float32)
    """
    return mx.exp(x)


@elementwise(slope=lambda _, y: y)
def exp_of_negative(x: Array) -> Array:
    """`exp(x)` for `x` that is never positive, as in a softmax."""
    return mx.exp(x)


def _expm1_of_negative_slope(x: Array, y: Array) -> Array:
    # `contiguous` ends a fused kernel, which g++ would not vectorize with more in it.
    return contiguous((1.0 + y) * (x <= 0).astype(x.dtype))


@elementwise(slope=_expm1_of_negative_slope)
def expm1_of_negative(x: Array) -> Array:
    """`exp(x) - 1` where `x` is negative, else 0, also at nan; the slope at 0 is 1."""
    return mx.expm1(mx.where(x < 0, x, 0.0))


@elementwise(slope=lambda _, y: y * (1.0 - y))
def sigmoid(x: Array) -> Array:
    """The logistic function, `1 / (1 + exp(-x))`.

    Args:
        x: float, any shape.

    Returns:
        Array of the shape and dtype of `x`, in [0, 1]; exact to a few units in the
        last place far into the negative tail.

    Raises:
        TypeError: if `x` is not an MLX array of a float dtype.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.sigmoid(mx.array([-80.0, 0.0, 80.0]))
        array([1.80485e-35, 0.5, 1], dtype=float32)
    """
    return mx.sigmoid(x)


def _log_add_one_slope(_: Array, y: Array) -> Array:
    # sigmoid(x) = 1 - exp(-y), which takes two thirds of the time; nan stays.
    return mx.where(y >= 0, -expm1_of_negative(-y), y)


@elementwise(slope=_log_add_one_slope)
def log_add_one(x: Array) -> Array:
    """`log(1 + exp(x))`, which `softplus` is made of."""
    return mx.logaddexp(x, 0.0)


@pointwise
@takes_float
@rounded_once
def softplus(x: Array, beta: Scalar = 1.0) -> Array:
    """A smooth ReLU, `log(1 + exp(beta * x)) / beta`.

    Args:
        x: float, any shape.
        beta: sharpness, positive: the limit of large `beta` is the ReLU.

    Returns:
        Array of the shape and dtype of `x`, at least 0.

    Raises:
        TypeError: if `x` is not an MLX array of a float dtype.
        ValueError: if `beta` is not positive.

    Source: PyTorch's `Softplus`; its `threshold` (the identity where `beta * x` is
    above 20) makes no difference in float32.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.softplus(mx.array([-100.0, 0.0, 100.0]))
        array([3.78351e-44, 0.693147, 100], dtype=float32)
    """
    beta = check_scalar("softplus", "beta", beta, above=0)
    if isinstance(beta, float) and beta == 1:
        return log_add_one(x)
    return log_add_one(beta * x) / beta


@elementwise(slope=lambda x, _: sigmoid(-x))
def log_sigmoid(x: Array) -> Array:
    """The logarithm of the logistic function, `-log(1 + exp(-x))`.

    Args:
        x: float, any shape.

    Returns:
        Array of the shape and dtype of `x`, at most 0.

    Raises:
        TypeError: if `x` is not an MLX array of a float dtype.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.log_sigmoid(mx.array([-100.0, 0.0]))
        array([-100, -0.693147], dtype=float32)
    """
    return -mx.logaddexp(-x, 0.0)


@elementwise(slope=lambda x, _: 2 / mx.pi**0.5 * exp(-x * x))
def erf(x: Array) -> Array:
    """The error function, `2 / sqrt(pi) * integral from 0 to x of exp(-t^2) dt`.

    Args:
        x: float, any shape.

    Returns:
        Array of the shape and dtype of `x`, in [-1, 1].

    Raises:
        TypeError: if `x` is not an MLX array of a float dtype.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.erf(mx.array([-1.0, 0.0, 4.0]))
        array([-0.842701, 0, 1], dtype=float32)
    """
    return mx.erf(x)
