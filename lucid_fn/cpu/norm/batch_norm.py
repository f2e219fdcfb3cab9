"""Batch normalization on CPUs: few passes over memory, on all cores."""

from collections.abc import Sequence
from functools import lru_cache

import mlx.core as mx
import numpy as np

from lucid_fn.cpu.parallel.split_batch import (
    distinct_shape_per_part,
    from_parts,
    parts_of,
)
from lucid_fn.cpu.parallel.streams import map_parts, split
from lucid_fn.numerics import channel_sum
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.norm import channel_scale, normalize_channels
from lucid_fn.ops.seam import current_part, plain
from lucid_fn.types import Array

_LARGE = 1 << 18  # minimum size at which two streams sum faster than one


def batch_norm(
    x: Array, weight: Array, bias: Array, eps: float
) -> tuple[Array, Array, Array]:
    """`ops.norm.normalize_channels`; `y` is divided if `x` is."""
    if x.dtype != mx.float32:
        with plain():
            return normalize_channels(x, weight, bias, eps)
    mean, var, *ys = _normalize(weight, bias, _filled(eps, weight.size), *parts_of(x))
    return from_parts(ys), mean, var


def scale(weight: Array, var: Array, eps: float) -> Array:
    """`ops.norm.channel_scale`, kept out of the kernel of all elements."""
    if var.dtype != mx.float32:
        with plain():
            return channel_scale(weight, var, eps)
    return mx.contiguous(weight * _rstd(var, _filled(eps, weight.size)))


def _forward(
    weight: Array, bias: Array, eps: Array, *parts: Array
) -> tuple[Array, ...]:
    """The mean, the variance, and the normalized parts of the batch.

    Each piece of the batch has its own mean and variance, which are merged (Chan, Golub
    & LeVeque, 1983, "Algorithms for computing the sample variance", eq. 2.1). That is
    faster than waiting for the mean of the whole batch.
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
    """`dx = a * dy + b * (x - mean) + c`, with `a`, `b` and `c` for each channel.

    The gradients of section 3 of the paper (Ioffe & Szegedy, 2015), in one pass over
    `x`.
    """
    weight, _, eps, *parts = primals
    dmean, dvar, *grads = cotangents
    mean, var, *_ = outputs
    pieces, dys = _pieces(parts), _pieces(grads)
    means = map_parts(_mean, pieces)  # `mx.compile` merges them with `_forward`'s
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
    # Most batch norms share a `dvar` and a `dmean` of zeros. What depends on these only
    # is a single operation each, which needs no compiled kernel.
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


_normalize = custom_function(_forward)
_normalize.vjp(_gradient)


def _pieces(parts: Sequence[Array]) -> Sequence[Array]:
    """The parts of a divided batch, or a large array in one piece for each core."""
    alone = len(parts) > 1 or current_part() is not None
    return parts if alone or parts[0].size < _LARGE else split(parts[0])


def _mean(x: Array) -> Array:
    return mx.contiguous(channel_sum(x) / _count(x.size, x.shape[-1]))


def _mean_product(dy: Array, dy_mean: Array, x: Array, mean: Array) -> Array:
    return _mean(_product(dy, dy_mean, _centred_again(x, mean)))


def _product(dy: Array, dy_mean: Array, x: Array) -> Array:
    """`(dy - dy_mean) * x`, for an `x` with a mean of zero.

    Subtracting the mean of `dy` damps the rounding error in the mean of `x`. It is
    multiplied out because two batch norms in a residual block may share their `dy`,
    and `mx.compile` would keep the difference in memory between them.
    """
    return dy * x - dy_mean * x


def _centred_again(x: Array, mean: Array) -> Array:
    """`x - mean`, written differently than in the forward pass.

    Otherwise `mx.compile` would merge the two and keep the array from the forward to
    the backward pass, which takes longer than subtracting twice in fused kernels.
    """
    return x + mx.contiguous(-mean)


def _merged(means: Sequence[Array], pieces: Sequence[Array]) -> Array:
    """The mean of the whole batch from the means of its pieces."""
    total, channels = sum(piece.size for piece in pieces), means[0].size
    first, *others = [
        mean * _filled(piece.size / total, channels)
        for mean, piece in zip(means, pieces, strict=True)
    ]
    return mx.contiguous(sum(others, first))


def _sums(a: Sequence[Array], b: Sequence[Array]) -> list[Array]:
    return [x + y for x, y in zip(a, b, strict=True)]


def _count(size: int, channels: int) -> Array:
    """The number of values in each channel, `(C,)`."""
    return _filled(size / channels, channels)


@lru_cache(maxsize=512)
def _filled(value: float, channels: int) -> Array:
    # A Python number would be a constant in the compiled kernels, which would then have
    # to be compiled for each size of layer, half a second each.
    return mx.array(np.full(channels, value, np.float32))


def _rstd(var: Array, eps: Array) -> Array:
    # `contiguous` ends a fused kernel. Without it `mx.compile` moves the maths of the
    # channels into the loop over all values. And a single operation needs no kernel of
    # its own, which takes half a second to compile.
    return mx.contiguous(mx.rsqrt(mx.contiguous(var + eps)))
