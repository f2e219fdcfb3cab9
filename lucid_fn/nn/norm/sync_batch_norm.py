"""Batch normalization by the statistics of all ranks of a group."""

import mlx.core as mx

from lucid_fn.distributed.collectives import all_gather
from lucid_fn.distributed.group import Group
from lucid_fn.numerics import channel_sum, promoted, widen
from lucid_fn.ops.bias import broadcast
from lucid_fn.ops.norm import channel_scale
from lucid_fn.ops.seam import join
from lucid_fn.types import Array


def sync_batch_norm(
    x: Array, weight: Array, bias: Array, *, eps: float, group: Group
) -> tuple[Array, Array, Array, Array]:
    """`ops.batch_norm` of the batches of all ranks together, by one collective.

    Each rank's mean, and its sum of squared deviations from it, are merged: a
    difference of two large sums would lose digits.

    Returns:
        `y`, and over all ranks the mean, the biased variance and the number of values
        per channel.

    Source: Chan, Golub & LeVeque, 1983, "Algorithms for computing the sample variance",
    eq. 2.1.
    """
    x = join(x)
    dtype = promoted(x, weight, bias)
    x, weight, bias = map(widen, (x, weight, bias))
    count = x.size // weight.size
    own_mean = channel_sum(x) / count
    own_squares = channel_sum(mx.square(x - broadcast(own_mean, x)))
    own_count = mx.full((1,), count, x.dtype)
    own = mx.concatenate([own_count, own_mean, own_squares])
    counts, means, squares = mx.split(
        all_gather(own, group), [1, 1 + weight.size], axis=1
    )  # (size, 1), (size, C), (size, C)
    total = counts.sum()
    mean = (counts * means).sum(axis=0) / total
    between = counts * mx.square(means - mean)
    var = (squares + between).sum(axis=0) / total
    scale = channel_scale(weight, var, eps)
    y = (x - broadcast(mean, x)) * broadcast(scale, x) + broadcast(bias, x)
    return y.astype(dtype), mean, var, total
