"""Convolution with few channels as one matrix product of stretches of image rows.

A stretch of a few pixels of `KH` rows times a banded matrix (a block Toeplitz matrix
of the kernel) is a stretch of an output row. That multiplies by the zeros of the band
too, but needs no im2col of single pixels, and the product is wide enough for the BLAS
to run at full speed.
"""

from functools import lru_cache

import mlx.core as mx
import numpy as np

from lucid_fn.ops.conv_geometry import Geometry, Pair
from lucid_fn.ops.rows import take_rows
from lucid_fn.ops.streams import concat_shards, sum_shards
from lucid_fn.types import Array


def forward(x: Array, weight: Array, geometry: Geometry) -> Array:
    """`(N, H, W, C)` and `(O, KH, KW, C)` to `(N, OH, OW, O)`."""
    o, (oh, ow) = weight.shape[0], geometry.out
    band = _band(weight, geometry)  # (KH*S*C, B*O)

    def shard(x: Array) -> Array:
        return (_stretches(x, geometry) @ band).reshape(-1, oh, ow, o)

    return concat_shards(shard, x)


def input_grad(g: Array, weight: Array, geometry: Geometry) -> Array:
    """The gradient of `forward` in `x`, `(N, H, W, C)`."""
    c, h, kh = weight.shape[-1], geometry.size[0], geometry.kernel[0]
    block, stretch = sizes(geometry)
    blocks = geometry.out[1] // block
    band = _band(weight, geometry)

    def shard(g: Array) -> Array:
        n, oh, _, o = g.shape
        shares = g.reshape(n * oh * blocks, block * o) @ band.T
        shares = shares.reshape(n * oh * blocks * kh, stretch * c)
        shares = take_rows(shares, _reach_index(n, geometry))
        shares = shares.reshape(n * h * blocks, kh, stretch * c).sum(axis=1)
        return _join(shares.reshape(n, h, blocks, stretch, c), geometry)

    return concat_shards(shard, g)


def weight_grad(x: Array, g: Array, geometry: Geometry) -> Array:
    """The gradient of `forward` in `weight`, `(O, KH, KW, C)`."""
    c, o, (kh, kw) = x.shape[-1], g.shape[-1], geometry.kernel
    block, stretch = sizes(geometry)

    def shard(x: Array, g: Array) -> Array:
        return g.reshape(-1, block * o).T @ _stretches(x, geometry)

    band = sum_shards(shard, x, g).reshape(block, o, kh, stretch, c)
    meets = band.transpose(3, 0, 1, 2, 4).reshape(stretch * block, o * kh * c)
    grad = _selection(geometry).T @ meets  # (KW, O*KH*C)
    return grad.reshape(kw, o, kh, c).transpose(1, 2, 0, 3)


def sizes(geometry: Geometry) -> Pair:
    """Output pixels of a block, and the input pixels of a stretch that it sees.

    Longer blocks multiply by more zeros, shorter ones copy more and shorter stretches:
    the longest is taken that divides the row and sees four kernels at most.
    """
    ow, stride, extent = geometry.out[1], geometry.stride[1], geometry.extent[1]
    longest = min(ow, 3 * extent // stride + 1)
    divisors = (size for size in range(longest, 1, -1) if ow % size == 0)
    block = next(divisors, ow)
    return block, stride * (block - 1) + extent


def _band(weight: Array, geometry: Geometry) -> Array:
    """The matrix that takes `KH` stretches of the input to one block of the output."""
    o, kh, kw, c = weight.shape
    block, stretch = sizes(geometry)
    taps = weight.transpose(2, 1, 3, 0).reshape(kw, kh * c * o)
    band = _selection(geometry) @ taps  # (S*B, KH*C*O)
    band = band.reshape(stretch, block, kh, c, o).transpose(2, 0, 3, 1, 4)
    return band.reshape(kh * stretch * c, block * o)


def _stretches(x: Array, geometry: Geometry) -> Array:
    """What every block of outputs sees, `(N*OH*blocks, KH*S*C)`."""
    n, h, _, c = x.shape
    block, stretch = sizes(geometry)
    blocks = geometry.out[1] // block
    (left, right), step = geometry.padding[1], geometry.stride[1] * block
    if left or right:
        x = mx.pad(x, [(0, 0), (0, 0), (left, right), (0, 0)])
    x = x.reshape(n, h, 1, -1)
    parts = [x[..., i * step * c : (i * step + stretch) * c] for i in range(blocks)]
    lines = parts[0] if blocks == 1 else mx.concatenate(parts, axis=2)
    lines = lines.reshape(-1, stretch * c)
    index = _row_index(n, geometry)
    inner = not any(geometry.padding[0])  # then none is the row of zeros
    rows = mx.take(lines, index, axis=0) if inner else take_rows(lines, index)
    return rows.reshape(-1, geometry.kernel[0] * stretch * c)


def _join(shares: Array, geometry: Geometry) -> Array:
    """Stretches `(N, H, blocks, S, C)` added where they overlap: `(N, H, W, C)`."""
    n, h, blocks, stretch, c = shares.shape
    step = geometry.stride[1] * sizes(geometry)[0]
    width = max(geometry.padded[1], stretch + step * (blocks - 1))
    total = mx.zeros((n, h, width * c), shares.dtype)
    for i in range(blocks):
        sides = (i * step * c, (width - stretch - i * step) * c)
        part = shares[:, :, i].reshape(n, h, stretch * c)
        total = total + mx.pad(part, [(0, 0), (0, 0), sides])
    left = geometry.padding[1][0]
    return total.reshape(n, h, width, c)[:, :, left : left + geometry.size[1]]


@lru_cache(maxsize=128)
def _selection(geometry: Geometry) -> Array:
    """1 where an input pixel, an output pixel and a tap meet: `(S*B, KW)`."""
    block, stretch = sizes(geometry)
    pixel, out, tap = np.indices((stretch, block, geometry.kernel[1]))
    met = out * geometry.stride[1] + tap * geometry.dilation[1]
    return mx.array((pixel == met).astype(np.float32).reshape(-1, geometry.kernel[1]))


@lru_cache(maxsize=128)
def _row_index(n: int, geometry: Geometry) -> Array:
    """Row among `(N, H, blocks)` for each output row, block and kernel row."""
    h, (oh, ow) = geometry.size[0], geometry.out
    blocks = ow // sizes(geometry)[0]
    image, out, block, tap = np.indices(
        (n, oh, blocks, geometry.kernel[0]), sparse=True
    )
    row = out * geometry.stride[0] + tap * geometry.dilation[0] - geometry.padding[0][0]
    index = np.where(
        (row >= 0) & (row < h), (image * h + row) * blocks + block, n * h * blocks
    )
    return mx.array(index.reshape(-1).astype(np.uint32))


@lru_cache(maxsize=128)
def _reach_index(n: int, geometry: Geometry) -> Array:
    """For each input row, block and kernel row, the `(N, OH, blocks, KH)` they met."""
    (oh, ow), kh = geometry.out, geometry.kernel[0]
    blocks = ow // sizes(geometry)[0]
    image, row, block, tap = np.indices((n, geometry.size[0], blocks, kh), sparse=True)
    start = row + geometry.padding[0][0] - tap * geometry.dilation[0]
    out, rest = np.divmod(start, geometry.stride[0])
    met = (rest == 0) & (out >= 0) & (out < oh)
    index = ((image * oh + out) * blocks + block) * kh + tap
    index = np.where(met, index, n * oh * blocks * kh)
    return mx.array(index.reshape(-1).astype(np.uint32))
