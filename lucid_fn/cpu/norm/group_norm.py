"""Group normalization on CPUs, with its gradient in closed form."""

import math
from functools import lru_cache
from typing import NamedTuple, cast

import mlx.core as mx

from lucid_fn.cpu.memory.broadcast import add, multiply, subtract
from lucid_fn.cpu.parallel.streams import concat, map_large
from lucid_fn.numerics import channel_sum, sum_rows
from lucid_fn.ops import reductions
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.norm import normalize_groups
from lucid_fn.ops.seam import plain
from lucid_fn.types import Array, ArrayFn


def group_norm(x: Array, weight: Array, bias: Array, groups: int, eps: float) -> Array:
    """`ops.norm.normalize_groups`."""
    if x.dtype != mx.float32 or x.size == 0:
        with plain():
            return normalize_groups(x, weight, bias, groups, eps)
    return cast(Array, _group_norm(groups, eps)(x, weight, bias))


class _Statistics(NamedTuple):
    centred: Array  # (N, Q, W), x less its mean
    rest: Array  # (N, 1, W), mean of `centred`: the rounding error of the first mean
    r: Array  # (N, 1, W), 1 / sqrt(var + eps)


@lru_cache(maxsize=64)
def _group_norm(groups: int, eps: float) -> ArrayFn:
    """Group norm on arrays `(N, Q, W)`, with statistics of shape `(N, 1, W)`.

    A row holds the `C` channels of a block of `W / C` places. That makes rows long even
    for few channels, and sums have two levels, which keeps their digits.
    """

    def over_group(columns: Array, channels: int) -> Array:
        """The sum over each group, repeated for each of its columns."""
        n, _, w = columns.shape
        split = columns.reshape(n, w // channels, groups, channels // groups)
        by_channel = split.sum(axis=1, keepdims=True)
        total = reductions.sum(by_channel, axis=3, keepdims=True)
        return mx.contiguous(mx.broadcast_to(total, split.shape)).reshape(n, 1, w)

    def statistics(x: Array, channels: int) -> _Statistics:
        def mean(x: Array) -> Array:
            return multiply(over_group(_sum(x), channels), _share(x, groups))

        centred = subtract(x, mean(x))
        rest = mean(centred)
        variance = mean(mx.square(centred)) - mx.square(rest)
        return _Statistics(centred, rest, mx.rsqrt(variance + eps))

    @custom_function
    def run(x: Array, weight: Array, bias: Array) -> Array:
        scale, offset = (_tile(numbers, x) for numbers in (weight, bias))

        def part(x: Array) -> Array:
            centred, rest, r = statistics(x, weight.size)
            a = r * scale
            return add(multiply(centred, a), offset - rest * a)

        return concat(map_large(part, _in_blocks(x))).reshape(x.shape)

    @run.vjp
    def vjp(
        primals: tuple[Array, Array, Array], g: Array, _: Array
    ) -> tuple[Array, Array, Array]:
        x, weight, _ = primals
        scale = _tile(weight, x)

        def part(x: Array, g: Array) -> tuple[Array, Array, Array]:
            centred, rest, r = statistics(x, weight.size)
            dbias = _sum(g)
            dweight = (_sum(mx.contiguous(g * centred)) - rest * dbias) * r
            share = _share(x, groups)
            b = multiply(over_group(scale * dweight, weight.size), share) * r * r
            c = multiply(over_group(scale * dbias, weight.size), share) * r - b * rest
            dx = multiply(g, scale * r) - multiply(centred, b)
            return subtract(mx.contiguous(dx), c), dweight, dbias

        parts = map_large(part, _in_blocks(x), _in_blocks(g))
        dx, dweight, dbias = map(concat, zip(*parts, strict=True))
        return (
            dx.reshape(x.shape),
            channel_sum(dweight.reshape(-1, weight.size)),
            channel_sum(dbias.reshape(-1, weight.size)),
        )

    return cast(ArrayFn, run)


def _in_blocks(x: Array) -> Array:
    """`(N, P, C)` to `(N, Q, W)`."""
    n, places, channels = x.shape
    return x.reshape(n, -1, _block(places) * channels)


def _tile(channels: Array, x: Array) -> Array:
    """`(C,)` to `(1, 1, W)`."""
    return mx.tile(channels, _block(x.shape[1]))[None, None]


def _block(places: int) -> int:
    root = math.isqrt(places)
    return next(block for block in range(root, 0, -1) if places % block == 0)


def _share(x: Array, groups: int) -> Array:
    """1 / (number of values in a group)."""
    return mx.array(groups / math.prod(x.shape[1:]))


def _sum(x: Array) -> Array:
    return sum_rows(x)[:, None]
