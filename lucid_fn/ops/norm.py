"""Batch normalization over all axes but the last."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import mlx.core as mx
import numpy as np

from lucid_fn.ops.channel_sum import channel_sum
from lucid_fn.ops.custom import custom_function
from lucid_fn.ops.formulation import tuned
from lucid_fn.ops.shards import (
    apart,
    examplewise,
    from_parts,
    join,
    map_parts,
    parts_of,
)
from lucid_fn.ops.spread import subtract
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
    deviation = mx.array(eps, mx.float32)
    if not tuned():
        y, mean, var = _plain_batch_norm(join(x), weight, bias, deviation)
        return y.astype(dtype), mean, var
    mean, var, *ys = _tuned_batch_norm(weight, bias, deviation, *parts_of(x))
    return from_parts(ys).astype(dtype), mean, var


@examplewise
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
    y = (x - mean) * _scale(weight, var, eps) + bias
    return y.astype(dtype)


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
    weight: Array, bias: Array, eps: Array, *parts: Array
) -> tuple[Array, ...]:
    """The mean, the variance, and the normalized parts of the batch.

    The deviations from the mean are an array of their own, by `subtract`: the gradient
    needs them again, so that MLX keeps them in any case.
    """
    count = _count(sum(part.size for part in parts), weight.size)
    mean = mx.contiguous(_sum(lambda x: x, parts) / count)
    var = _sum(lambda x: mx.square(subtract(x, mean)), parts) / count
    scale = _scale(weight, var, eps)
    affine = apart(lambda x: subtract(x, mean) * scale + bias)
    return mean, var, *map_parts(affine, parts)


def _gradient(
    primals: tuple[Array, ...],
    cotangents: tuple[Array, ...],
    outputs: tuple[Array, ...],
) -> tuple[Array, ...]:
    """`dx = a * dy + b * (x - mean) + c`, with `a`, `b`, `c` of the channel."""
    weight, _, eps, *parts = primals
    dmean, dvar, *grads = cotangents
    mean, var, *_ = outputs
    count = _count(sum(part.size for part in parts), weight.size)
    rstd = mx.rsqrt(var + eps)
    dbias = _sum(lambda dy: dy, grads)
    covariance = _sum(lambda dy, x: dy * subtract(x, mean), grads, parts)  # times count
    # The mean was rounded: what is left of it, times the sum of `dy`, is not small.
    covariance = covariance - dbias * (_sum(lambda x: subtract(x, mean), parts) / count)
    a = weight * rstd
    b = (2 * dvar - a * mx.square(rstd) * covariance) / count
    c = (dmean - a * dbias) / count
    a, b, c = (mx.contiguous(coefficient) for coefficient in (a, b, c))
    dxs = map_parts(
        apart(lambda dy, x: a * dy + b * subtract(x, mean) + c), grads, parts
    )
    deps = mx.sum(-0.5 * a * mx.square(rstd) * covariance)
    return covariance * rstd, dbias, deps, *dxs


_tuned_batch_norm = custom_function(_forward)
_tuned_batch_norm.vjp(_gradient)


@lru_cache(maxsize=256)
def _count(size: int, channels: int) -> Array:
    """Values a channel, `(C,)`.

    A Python number would be a constant in the kernels that `mx.compile` makes, one set
    of them for each size of layer, half a second of compiler time a kernel.
    """
    return mx.array(np.full(channels, size // channels, np.float32))


def _sum(terms: Callable[..., Array], *batches: Sequence[Array]) -> Array:
    """The sum of `terms` of the batches over all axes but the last, on all cores."""
    terms = apart(terms)
    if len(batches[0]) > 1:
        total, *others = map_parts(lambda *parts: channel_sum(terms(*parts)), *batches)
        return sum(others, total)
    arrays = [batch[0] for batch in batches]
    if arrays[0].size < _SPLITS:
        return channel_sum(terms(*arrays))
    return sum_shards(lambda *parts: channel_sum(terms(*parts)), *arrays)


def _scale(weight: Array, var: Array, eps: Array | float) -> Array:
    # `contiguous` ends a fused kernel: without it `mx.compile` moves the maths of the
    # channels into the loop over all values, where it is repeated for each of them.
    return mx.contiguous(mx.rsqrt(var + eps) * weight)
