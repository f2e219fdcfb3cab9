"""Depthwise convolution: a sum of shifted images, each scaled for every channel.

Each channel is convolved alone, so there are no matrix products. A fused kernel adds
three images: g++ does not vectorize kernels that read many more arrays.
"""

from collections.abc import Sequence
from functools import reduce

import mlx.core as mx

from lucid_fn.cpu.memory import words
from lucid_fn.cpu.parallel.streams import concat_split, sum_split
from lucid_fn.numerics import sum_rows
from lucid_fn.ops.conv import Geometry, Pair, pad, taps
from lucid_fn.types import Array

_PER_KERNEL = 3  # products
_FOLDS = (4, 2, 1)  # parts of the batch whose products are added in one kernel


def forward(x: Array, weight: Array, geometry: Geometry) -> Array:
    """`(N, H, W, C)` and `(O, KH, KW, 1)` to `(N, OH, OW, O)`."""
    kernels = _kernels(weight)

    def shard(x: Array) -> Array:
        return _weighted_sum(taps(_for_outputs(x, len(weight)), geometry), kernels)

    return concat_split(shard, x)


def input_grad(g: Array, weight: Array, geometry: Geometry) -> Array:
    """The gradient of `forward` in `x`, `(N, H, W, C)`.

    Pixels of one phase (position modulo the stride) meet the same taps, so each phase
    is a weighted sum as in `forward`.
    """
    (h, w), (sh, sw), (oh, ow) = geometry.size, geometry.stride, geometry.out
    o, channels = weight.shape[0], geometry.groups
    kernels = _kernels(weight)
    height, width = -(-h // sh), -(-w // sw)  # pixels of a phase
    rows = [_met(geometry, 0, phase) for phase in range(sh)]
    columns = [_met(geometry, 1, phase) for phase in range(sw)]
    (top, bottom), (left, right) = map(_span, (rows, columns))
    around = (-top, height - oh + bottom), (-left, width - ow + right)

    def phase(padded: Array, vertical: list[Pair], horizontal: list[Pair]) -> Array:
        met = [(v, u) for v in vertical for u in horizontal]
        if not met:  # stride > kernel: no output sees these pixels
            return mx.zeros((padded.shape[0], height, width, o), padded.dtype)
        inputs = [
            padded[:, i - top : i - top + height, j - left : j - left + width]
            for (_, i), (_, j) in met
        ]
        chosen = [kernels[a * geometry.kernel[1] + b] for (a, _), (b, _) in met]
        return _weighted_sum(inputs, chosen)

    def shard(g: Array) -> Array:
        padded = pad(g, around)
        lines = [
            words.concatenate([phase(padded, v, u) for u in columns], axis=3).reshape(
                -1, height, 1, width * sw * o
            )
            for v in rows
        ]
        dx = words.concatenate(lines, axis=2)
        dx = dx.reshape(-1, height * sh, width * sw, channels, o // channels)
        dx = dx[:, :h, :w]
        return dx.squeeze(-1) if o == channels else dx.sum(axis=-1)

    return concat_split(shard, g)


def weight_grad(x: Array, g: Array, geometry: Geometry) -> Array:
    """The gradient of `forward` in `weight`, `(O, KH, KW, 1)`."""
    o = g.shape[-1]

    def shard(x: Array, g: Array) -> Array:
        step = next(len(x) // folds for folds in _FOLDS if len(x) % folds == 0)
        # Slices, since MLX cannot always compile `mx.split`.
        folds = [slice(start, start + step) for start in range(0, len(x), step)]

        def summed(tap: Array) -> Array:
            products = reduce(mx.add, (tap[fold] * g[fold] for fold in folds))
            return sum_rows(mx.contiguous(products).reshape(-1, o))

        inputs = taps(_for_outputs(x, o), geometry)
        return mx.stack([summed(tap) for tap in inputs], axis=-1)

    return sum_split(shard, x, g).reshape(o, *geometry.kernel, 1)


def _for_outputs(x: Array, channels: int) -> Array:
    """`x` with each channel repeated for each of its output channels."""
    times = channels // x.shape[-1]
    return x if times == 1 else mx.repeat(x, times, axis=-1)


def _weighted_sum(inputs: Sequence[Array], kernels: Sequence[Array]) -> Array:
    """The sum of `input * kernel`, with kernels `(O,)`."""
    products = [x * kernel for x, kernel in zip(inputs, kernels, strict=True)]
    total = mx.contiguous(reduce(mx.add, products[:_PER_KERNEL]))
    for start in range(_PER_KERNEL, len(products), _PER_KERNEL):
        some = products[start : start + _PER_KERNEL]
        total = mx.contiguous(reduce(mx.add, [total, *some]))
    return total


def _kernels(weight: Array) -> list[Array]:
    """The weights of each tap, `(O,)`."""
    by_tap = mx.contiguous(weight.reshape(len(weight), -1).T)  # (KH*KW, O)
    return [by_tap[tap] for tap in range(len(by_tap))]


def _met(geometry: Geometry, axis: int, phase: int) -> list[Pair]:
    """The taps through which pixels of a phase contribute to outputs.

    Each with the index of that output, relative to `pixel // stride`.
    """
    start, stride = phase + geometry.padding[axis][0], geometry.stride[axis]
    steps = range(geometry.kernel[axis])
    reached = [(tap, start - geometry.dilation[axis] * tap) for tap in steps]
    return [(tap, at // stride) for tap, at in reached if at % stride == 0]


def _span(phases: list[list[Pair]]) -> Pair:
    """The first and last output reached."""
    outputs = [output for met in phases for _, output in met]
    return min(outputs), max(outputs)
