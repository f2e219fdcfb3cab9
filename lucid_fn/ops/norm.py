"""Batch normalization over all axes but the last."""

from collections.abc import Callable
from functools import lru_cache
from typing import cast

import mlx.core as mx
import numpy as np

from lucid_fn.ops.channel_sum import channel_sum
from lucid_fn.ops.formulation import tuned
from lucid_fn.ops.streams import sum_shards
from lucid_fn.types import Array

_SPLITS = 1 << 18  # values from which on two streams add faster than one


def batch_norm(
    x: Array, weight: Array, bias: Array, *, eps: float
) -> tuple[Array, Array, Array]:
    """Shifts and scales each channel to the mean `bias` and the deviation `weight`.

    `y = (x - mean) / sqrt(var + eps) * weight + bias`, where `mean` and `var` (biased:
    divided by the number of values) are those of the channel over all axes but the
    last. They are returned for running statistics; gradients flow through all three.

    The variance is that of the deviations from the mean (two passes), sums are added in
    two levels and in float32 for any dtype of `x`: both keep their digits for millions
    of values far from zero.

    Args:
        x: float, shape `(..., C)`.
        weight: float, shape `(C,)`.
        bias: float, shape `(C,)`.
        eps: added to the variance; positive.

    Returns:
        `y` of the shape and dtype of `x`; `mean` and `var`, float32, shape `(C,)`.

    Raises:
        ValueError: if `weight` or `bias` does not have the shape `(C,)`, or `x` has no
            values.

    Source: Ioffe & Szegedy, 2015, https://arxiv.org/abs/1502.03167, algorithm 1, and
    the gradients of section 3, collected into one pass over `x`.

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
    _check("batch_norm", x, weight=weight, bias=bias)
    if x.size == 0:
        raise ValueError(f"batch_norm: x must have values, got shape {x.shape}")
    dtype, (x, weight, bias) = x.dtype, _in_float32(x, weight, bias)
    normalize = _tuned_batch_norm if tuned() else _plain_batch_norm
    y, mean, var = normalize(x, weight, bias, mx.array(eps, mx.float32))
    return y.astype(dtype), mean, var


def batch_norm_eval(
    x: Array, weight: Array, bias: Array, mean: Array, var: Array, *, eps: float
) -> Array:
    """`batch_norm` with a given mean and variance: `(..., C)` to the same.

    `y = (x - mean) / sqrt(var + eps) * weight + bias`.

    Args:
        x: float, shape `(..., C)`.
        weight: float, shape `(C,)`.
        bias: float, shape `(C,)`.
        mean: float, shape `(C,)`.
        var: float, shape `(C,)`, at least 0.
        eps: added to the variance; positive.

    Returns:
        Float array of the shape and dtype of `x`.

    Raises:
        ValueError: if one of the others does not have the shape `(C,)`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> one, zero = mx.ones((1,)), mx.zeros((1,))
        >>> x = mx.array([[5.0]])
        >>> ops.batch_norm_eval(x, one, zero, one, one * 4, eps=0.0).item()
        2.0
    """
    _check("batch_norm_eval", x, weight=weight, bias=bias, mean=mean, var=var)
    dtype = x.dtype
    x, weight, bias, mean, var = _in_float32(x, weight, bias, mean, var)
    return _affine(x, mean, mx.rsqrt(var + eps) * weight, bias).astype(dtype)


def _check(name: str, x: Array, **channels: Array) -> None:
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


def _in_float32(*arrays: Array) -> list[Array]:
    return [array.astype(mx.float32) for array in arrays]


def _plain_batch_norm(
    x: Array, weight: Array, bias: Array, eps: Array
) -> tuple[Array, Array, Array]:
    """The equation; MLX finds the gradient."""
    axes = tuple(range(x.ndim - 1))
    mean = mx.mean(x, axis=axes)
    var = mx.mean(mx.square(x - mean), axis=axes)
    return (x - mean) * mx.rsqrt(var + eps) * weight + bias, mean, var


def _forward(
    x: Array, weight: Array, bias: Array, eps: Array
) -> tuple[Array, Array, Array]:
    count = _count(x.size, x.shape[-1])
    mean = mx.contiguous(_sum(lambda x: x, x) / count)
    var = _sum(lambda x: mx.square(x - mean), x) / count
    return _affine(x, mean, mx.rsqrt(var + eps) * weight, bias), mean, var


def _gradient(
    primals: tuple[Array, Array, Array, Array],
    cotangents: tuple[Array, Array, Array],
    outputs: tuple[Array, Array, Array],
) -> tuple[Array, Array, Array, Array]:
    """`dx = a * dy + b * (x - mean) + c`, with `a`, `b`, `c` of the channel."""
    x, weight, _, eps = primals
    dy, dmean, dvar = cotangents
    _, mean, var = outputs
    count = _count(x.size, x.shape[-1])
    rstd = mx.rsqrt(var + eps)
    dbias = _sum(lambda dy: dy, dy)
    covariance = _sum(lambda dy, x: dy * (x - mean), dy, x)  # times count
    a = weight * rstd
    b = (2 * dvar - a * mx.square(rstd) * covariance) / count
    c = (dmean - a * dbias) / count
    a, b, c = (mx.contiguous(coefficient) for coefficient in (a, b, c))
    dx = a * dy + b * (x - mean) + c
    deps = mx.sum(-0.5 * a * mx.square(rstd) * covariance)
    return dx, covariance * rstd, dbias, deps


_custom_batch_norm = mx.custom_function(_forward)
_custom_batch_norm.vjp(_gradient)


def _tuned_batch_norm(
    x: Array, weight: Array, bias: Array, eps: Array
) -> tuple[Array, Array, Array]:
    return cast(tuple[Array, Array, Array], _custom_batch_norm(x, weight, bias, eps))


@lru_cache(maxsize=256)
def _count(size: int, channels: int) -> Array:
    """Values a channel, `(C,)`.

    A Python number would be a constant in the kernels that `mx.compile` makes, one set
    of them for each size of layer, half a second of compiler time a kernel.
    """
    return mx.array(np.full(channels, size // channels, np.float32))


def _sum(terms: Callable[..., Array], *arrays: Array) -> Array:
    """The sum of `terms(*arrays)` over all axes but the last, on all cores."""
    if arrays[0].size < _SPLITS:
        return channel_sum(terms(*arrays))
    return sum_shards(lambda *parts: channel_sum(terms(*parts)), *arrays)


def _affine(x: Array, mean: Array, scale: Array, bias: Array) -> Array:
    # `contiguous` ends a fused kernel: without it `mx.compile` moves the maths of the
    # channels into the loop over all values, where it is repeated for each of them.
    return (x - mean) * mx.contiguous(scale) + bias
