"""Batch normalization over all axes but the last."""

import math
from collections.abc import Sequence
from functools import lru_cache

import mlx.core as mx
import numpy as np

from lucid_fn.checks import check_number
from lucid_fn.cpu.parallel.split_batch import (
    distinct_shape_per_part,
    from_parts,
    parts_of,
)
from lucid_fn.cpu.parallel.streams import map_parts, split
from lucid_fn.ops.bias import broadcast
from lucid_fn.ops.channel_sum import channel_sum
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.dtypes import promoted, widened
from lucid_fn.ops.seam import current_part, examplewise, join, tuned
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
        `y` of the shape of `x`, of the dtype that `x`, `weight` and `bias` promote to;
        `mean` and `var`, float32 (float64 for float64), shape `(C,)`, nan if `x` has no
        values.

    Raises:
        ValueError: if `weight` or `bias` does not have the shape `(C,)`.

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
    eps = check_number("batch_norm", "eps", eps, at_least=0)
    _check("batch_norm", x, weight=weight, bias=bias)
    if x.size == 0:
        zero, nothing = mx.zeros(weight.shape), mx.full(weight.shape, math.nan)
        y = batch_norm_eval(x, weight, bias, zero, zero, eps=eps)
        return y, nothing, nothing
    dtype = promoted(x, weight, bias)
    x, weight, bias = map(widened, (x, weight, bias))
    epsilon = _filled(eps, weight.size)
    if not tuned() or x.dtype != mx.float32:
        y, mean, var = _plain_batch_norm(join(x), weight, bias, epsilon)
        return y.astype(dtype), mean, var
    mean, var, *ys = _tuned_batch_norm(weight, bias, epsilon, *parts_of(x))
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
        Float array of the shape of `x`, of the dtype that `x`, `weight` and `bias`
        promote to.

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
    eps = check_number("batch_norm_eval", "eps", eps, at_least=0)
    _check("batch_norm_eval", x, weight=weight, bias=bias, mean=mean, var=var)
    dtype = promoted(x, weight, bias)
    x, weight, bias, mean, var = map(widened, (x, weight, bias, mean, var))
    scale = mx.contiguous(weight * _rstd(var, _filled(eps, weight.size)))
    y = (x - broadcast(mean, x)) * broadcast(scale, x) + broadcast(bias, x)
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


def _plain_batch_norm(
    x: Array, weight: Array, bias: Array, eps: Array
) -> tuple[Array, Array, Array]:
    """The equation; MLX finds the gradient."""
    count = x.size // weight.size
    mean = channel_sum(x) / count
    centred = x - broadcast(mean, x)
    # The mean of the deviations: digits that the float32 mean has lost.
    rest = channel_sum(centred) / count
    var = channel_sum(mx.square(centred)) / count - mx.square(rest)
    scale = mx.rsqrt(var + eps) * weight
    y = (centred - broadcast(rest, x)) * broadcast(scale, x) + broadcast(bias, x)
    return y, mean + rest, var


def _forward(
    weight: Array, bias: Array, eps: Array, *parts: Array
) -> tuple[Array, ...]:
    """The mean, the variance, and the normalized parts of the batch.

    Pieces of the batch have means and variances of their own, which are merged (Chan,
    Golub & LeVeque, 1983, "Algorithms for computing the sample variance", eq. 2.1): to
    wait for the mean of all of them first takes longer.
    """
    pieces = _pieces(parts)
    means = map_parts(_mean, pieces)
    squares = map_parts(lambda x, mean: _mean(mx.square(x - mean)), pieces, means)
    mean = _merged(means, pieces)
    between = [mx.square(own - mean) for own in means]
    var = _merged(_sums(squares, between), pieces)
    scale = mx.contiguous(weight * _rstd(var, eps))
    affine = distinct_shape_per_part(lambda x: (x - mean) * scale + bias)
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
    pieces, dys = _pieces(parts), _pieces(grads)
    means = map_parts(_mean, pieces)  # `mx.compile` has them from `_forward`
    dy_means = map_parts(_mean, dys)
    products = map_parts(_mean_product, dys, dy_means, pieces, means)
    dy_mean = _merged(dy_means, pieces)
    between = [
        _product(dy_own, dy_mean, own - mean)
        for dy_own, own in zip(dy_means, means, strict=True)
    ]
    covariance = _merged(_sums(products, between), pieces)
    count = _count(sum(part.size for part in parts), weight.size)
    rstd = _rstd(var, eps)
    a = mx.contiguous(weight * rstd)
    # Most batch norms share a `dvar` and a `dmean` of zeros: what is computed of these
    # alone is one operation each, which need not be compiled.
    b = (dvar + dvar - count * a * mx.square(rstd) * covariance) / count
    c = mx.contiguous(dmean / count) - mx.contiguous(a * dy_mean)
    b, c = mx.contiguous(b), mx.contiguous(c)
    affine = distinct_shape_per_part(
        lambda dy, x: a * dy + b * _centred_again(x, mean) + c
    )
    dxs = map_parts(affine, grads, parts)
    dweight = count * covariance * rstd
    deps = -0.5 * mx.square(rstd) * weight * dweight
    return dweight, count * dy_mean, deps, *dxs


_tuned_batch_norm = custom_function(_forward)
_tuned_batch_norm.vjp(_gradient)


def _pieces(parts: Sequence[Array]) -> Sequence[Array]:
    """What is added up by itself: the parts, or of a large one a piece a core."""
    alone = len(parts) > 1 or current_part() is not None
    return parts if alone or parts[0].size < _SPLITS else split(parts[0])


def _mean(x: Array) -> Array:
    return mx.contiguous(channel_sum(x) / _count(x.size, x.shape[-1]))


def _mean_product(dy: Array, dy_mean: Array, x: Array, mean: Array) -> Array:
    return _mean(_product(dy, dy_mean, _centred_again(x, mean)))


def _product(dy: Array, dy_mean: Array, x: Array) -> Array:
    """`(dy - dy_mean) * x`, for an `x` with a mean of zero.

    Without the mean of `dy`, what rounding left of that of `x` would not be small. It
    is multiplied out because two batch norms may share their `dy`, in a residual block:
    `mx.compile` would keep the difference from the one to the other.
    """
    return dy * x - dy_mean * x


def _centred_again(x: Array, mean: Array) -> Array:
    """`x - mean`, in other words than in the forward pass.

    In the same words `mx.compile` takes both for one array and keeps it until then,
    which takes longer than to subtract twice, as part of what else is computed.
    """
    return x + mx.contiguous(-mean)


def _merged(means: Sequence[Array], pieces: Sequence[Array]) -> Array:
    """The mean of all values from those of the pieces."""
    total, channels = sum(piece.size for piece in pieces), means[0].size
    first, *others = [
        mean * _filled(piece.size / total, channels)
        for mean, piece in zip(means, pieces, strict=True)
    ]
    return mx.contiguous(sum(others, first))


def _sums(a: Sequence[Array], b: Sequence[Array]) -> list[Array]:
    return [x + y for x, y in zip(a, b, strict=True)]


def _count(size: int, channels: int) -> Array:
    """Values a channel, `(C,)`."""
    return _filled(size / channels, channels)


@lru_cache(maxsize=512)
def _filled(value: float, channels: int) -> Array:
    # A Python number would be a constant in the kernels that `mx.compile` makes, one
    # set of them for each size of layer, half a second of compiler time a kernel.
    return mx.array(np.full(channels, value, np.float32))


def _rstd(var: Array, eps: Array) -> Array:
    # `contiguous` ends a fused kernel. Without it `mx.compile` moves the maths of the
    # channels into the loop over all values, where it is repeated for each of them. And
    # what is fused has to be compiled, half a second each; a single operation has been.
    return mx.contiguous(mx.rsqrt(mx.contiguous(var + eps)))
