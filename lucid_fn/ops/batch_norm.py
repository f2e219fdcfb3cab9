"""Batch normalization over all axes but the last."""

import math

import mlx.core as mx

from lucid_fn.checks import check_float, check_number
from lucid_fn.numerics import channel_sum, promoted, widen
from lucid_fn.ops.bias import broadcast
from lucid_fn.ops.seam import examplewise, is_divided, join, replaceable
from lucid_fn.types import Array


def batch_norm(
    x: Array, weight: Array, bias: Array, *, eps: float
) -> tuple[Array, Array, Array]:
    """Normalizes each channel to mean 0 and variance 1 over the batch, then scales it.

    `y = (x - mean) / sqrt(var + eps) * weight + bias`, where `mean` and `var` (biased:
    divided by the number of values) are those of the channel over all axes but the
    last. Both are returned, for running statistics; gradients flow through all three
    results.

    The variance is computed in two passes, as the mean square of `x - mean`, and sums
    are added up in blocks and in float32 for any dtype of `x`. Both keep their digits
    for millions of values far from zero.

    Args:
        x: float, shape `(..., C)`.
        weight: float, shape `(C,)`.
        bias: float, shape `(C,)`.
        eps: added to the variance; positive.

    Returns:
        `y` of the shape of `x`, of the dtype that `x`, `weight` and `bias` promote to;
        `mean` and `var`, float32 (float64 for float64), shape `(C,)`, NaN if `x` has no
        values.

    Raises:
        TypeError: if an argument is not an MLX array of a float dtype.
        ValueError: if `weight` or `bias` does not have the shape `(C,)`.

    Source: Ioffe & Szegedy, 2015, https://arxiv.org/abs/1502.03167, algorithm 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.array([[1.0], [3.0]])
        >>> y, mean, var = ops.batch_norm(x, mx.ones((1,)), mx.zeros((1,)), eps=1e-5)
        >>> y
        array([[-0.999995],
               [0.999995]], dtype=float32)
        >>> mean.item(), var.item()
        (2.0, 1.0)
    """
    eps = check_number("batch_norm", "eps", eps, at_least=0)
    _check("batch_norm", x, weight=weight, bias=bias)
    if x.size == 0:
        zero = mx.zeros(weight.shape, widen(x).dtype)
        nothing = mx.full(weight.shape, math.nan, zero.dtype)
        y = batch_norm_eval(x, weight, bias, zero, zero, eps=eps)
        return y, nothing, nothing
    y, mean, var = normalize_channels(widen(x), widen(weight), widen(bias), eps)
    return y.astype(promoted(x, weight, bias)), mean, var


@replaceable
def normalize_channels(
    x: Array, weight: Array, bias: Array, eps: float
) -> tuple[Array, Array, Array]:
    """`y`, `mean` and `var` of `batch_norm`, of float32 or float64 arrays.

    `x` may be a divided batch, which the plain formulation joins.
    """
    x = join(x)
    count = x.size // weight.size
    mean = channel_sum(x) / count
    centred = x - broadcast(mean, x)
    # The mean of what is left: digits that the float32 mean has lost.
    rest = channel_sum(centred) / count
    var = channel_sum(mx.square(centred)) / count - mx.square(rest)
    scale = channel_scale(weight, var, eps)
    y = (centred - broadcast(rest, x)) * broadcast(scale, x) + broadcast(bias, x)
    return y, mean + rest, var


@examplewise
def batch_norm_eval(
    x: Array, weight: Array, bias: Array, mean: Array, var: Array, *, eps: float
) -> Array:
    """Normalizes each channel by a given mean and variance, as running statistics.

    `y = (x - mean) / sqrt(var + eps) * weight + bias`.

    Args:
        x: float, shape `(..., C)`.
        weight: float, shape `(C,)`.
        bias: float, shape `(C,)`.
        mean: float, shape `(C,)`.
        var: float, shape `(C,)`, at least 0.
        eps: added to the variance; positive.

    Returns:
        Float array of the shape of `x`, of the dtype that `x`, `weight` and `bias`
        promote to.

    Raises:
        TypeError: if an argument is not an MLX array of a float dtype.
        ValueError: if an argument other than `x` does not have the shape `(C,)`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> one, zero = mx.ones((1,)), mx.zeros((1,))
        >>> x = mx.array([[5.0]])
        >>> ops.batch_norm_eval(x, one, zero, one, one * 4, eps=0.0).item()
        2.0
    """
    eps = check_number("batch_norm_eval", "eps", eps, at_least=0)
    _check("batch_norm_eval", x, weight=weight, bias=bias, mean=mean, var=var)
    dtype = promoted(x, weight, bias)
    x, weight, bias, mean, var = map(widen, (x, weight, bias, mean, var))
    scale = channel_scale(weight, var, eps)
    y = (x - broadcast(mean, x)) * broadcast(scale, x) + broadcast(bias, x)
    return y.astype(dtype)


@replaceable
def channel_scale(weight: Array, var: Array, eps: float) -> Array:
    """`weight / sqrt(var + eps)`, shape `(C,)`."""
    return weight * mx.rsqrt(var + eps)


def _check(name: str, x: Array, **channels: Array) -> None:
    check_float(name, **channels)
    if not is_divided(x):  # what is divided is a float array
        check_float(name, x=x)
    shape = next(iter(channels.values())).shape
    if x.ndim < 2 or x.shape[-1:] != shape:
        raise ValueError(
            f"{name}: x must have shape (..., {', '.join(map(str, shape))}) with at "
            f"least one axis before the channels, got {x.shape}"
        )
    for label, array in channels.items():
        if array.shape != shape:
            raise ValueError(
                f"{name}: {label} must have shape {shape}, got {array.shape}"
            )
