"""Convolution with few channels as a product with a block Toeplitz matrix.

A stretch of several pixels in `KH` image rows, times a banded matrix made of the
kernel, is a block of pixels of an output row. This also multiplies by the zeros of the
band, but needs no im2col of single pixels, and the product is wide enough for the BLAS
to run at full speed.
"""

from functools import lru_cache, reduce

import mlx.core as mx
import numpy as np

from lucid_fn.cpu.memory.rows import Rows, rows_at, take_rows
from lucid_fn.cpu.parallel.streams import concat_split, sum_split
from lucid_fn.cpu.small_products import by_rows, over_rows
from lucid_fn.ops.conv import Geometry, Pair, pad
from lucid_fn.types import Array

# Elements of a stretch from which row gathers are faster than strided copies: 1.9
# instead of 3.4 ms for two images in the 7x7 stem of a ResNet.
_LONG = 16


def forward(x: Array, weight: Array, geometry: Geometry) -> Array:
    """`(N, H, W, C)` and `(O, KH, KW, C)` to `(N, OH, OW, O)`."""
    o, (oh, ow) = weight.shape[0], geometry.out
    band = _band(weight, geometry)  # (KH*S*C, B*O)

    def shard(x: Array) -> Array:
        return by_rows(_stretches(x, geometry, o), band).reshape(-1, oh, ow, o)

    return concat_split(shard, x)


def input_grad(g: Array, weight: Array, geometry: Geometry) -> Array:
    """The gradient of `forward` in `x`, `(N, H, W, C)`.

    For each row of the input, the `KH` output rows that it contributed to are gathered,
    and the product sums over them.
    """
    c, h, kh = weight.shape[-1], geometry.size[0], geometry.kernel[0]
    block, stretch = sizes(geometry, weight.shape[0])
    blocks = geometry.out[1] // block
    band = _products(weight, geometry).transpose(2, 1, 4, 0, 3)
    band = band.reshape(-1, stretch * c)  # (KH*B*O, S*C)

    def shard(g: Array) -> Array:
        n, o = g.shape[0], g.shape[-1]
        rows = take_rows(g.reshape(-1, block * o), _output_index(n, geometry, block))
        shares = by_rows(rows.reshape(-1, kh * block * o), band)  # (N*H*blocks, S*C)
        return _add_stretches(shares.reshape(n, h, blocks, stretch, c), geometry, block)

    return concat_split(shard, g)


def weight_grad(x: Array, g: Array, geometry: Geometry) -> Array:
    """The gradient of `forward` in `weight`, `(O, KH, KW, C)`."""
    c, o, (kh, kw) = x.shape[-1], g.shape[-1], geometry.kernel
    block, stretch = sizes(geometry, o)

    def shard(x: Array, g: Array) -> Array:
        return over_rows(g.reshape(-1, block * o), _stretches(x, geometry, o))

    band = sum_split(shard, x, g).reshape(block, o, kh, stretch, c)
    meets = band.transpose(3, 0, 1, 2, 4).reshape(stretch * block, o * kh * c)
    grad = _selection(geometry, block).T @ meets  # (KW, O*KH*C)
    return grad.reshape(kw, o, kh, c).transpose(1, 2, 0, 3)


@lru_cache(maxsize=512)
def sizes(geometry: Geometry, out_channels: int) -> Pair:
    """Pixels of an output block and of the input stretch that it depends on.

    Longer blocks multiply by more zeros, shorter ones copy more. Copying an element
    costs about 48 multiplications, or 96 if it cannot be copied in pairs.
    """
    ow, stride, extent = geometry.out[1], geometry.stride[1], geometry.extent[1]

    def stretch(block: int) -> int:
        return stride * (block - 1) + extent

    def cost(block: int) -> int:
        copy = 96 if stretch(block) % 2 else 48
        return ow // block * stretch(block) * (copy + block * out_channels)

    block = min((size for size in range(1, ow + 1) if ow % size == 0), key=cost)
    return block, stretch(block)


def _band(weight: Array, geometry: Geometry) -> Array:
    """The matrix from `KH` stretches of the input to a block of the output."""
    o = weight.shape[0]
    block, _ = sizes(geometry, o)
    band = _products(weight, geometry).transpose(2, 0, 3, 1, 4)
    return band.reshape(-1, block * o)  # (KH*S*C, B*O)


def _products(weight: Array, geometry: Geometry) -> Array:
    """The weights from pixels of a stretch to those of a block, `(S, B, KH, C, O)`."""
    o, kh, kw, c = weight.shape
    block, stretch = sizes(geometry, o)
    taps = weight.transpose(2, 1, 3, 0).reshape(kw, kh * c * o)
    return (_selection(geometry, block) @ taps).reshape(stretch, block, kh, c, o)


def _stretches(x: Array, geometry: Geometry, out_channels: int) -> Array:
    """The inputs of every output block, `(N*OH*blocks, KH*S*C)`.

    A row is cut into pieces as long as the step from one block to the next; a stretch
    consists of several consecutive pieces, the last one cut short.
    """
    (oh, ow), (kh, _) = geometry.out, geometry.kernel
    down, dilation = geometry.stride[0], geometry.dilation[0]
    block, stretch = sizes(geometry, out_channels)
    step, count = _pieces(geometry, block, stretch)
    blocks = ow // block
    left, right = geometry.padding[1]
    # Negative if no output depends on the last pixels.
    right += (blocks - 1 + count) * step - geometry.padded[1]
    x = pad(x, (geometry.padding[0], (left, right)))
    n, h, _, c = x.shape
    # MLX's strided copy takes as long for 64-bit elements as for 32-bit ones.
    size = 2 if step * c % 2 == 0 == stretch * c % 2 else 1
    pieces = x.reshape(n, h, -1, step * c)
    pieces = mx.view(pieces, mx.int64) if size == 2 else pieces
    lines = [
        pieces[:, :, i : i + blocks, : (stretch - i * step) * c // size]
        for i in range(count)
    ]
    line = mx.concatenate(lines, axis=3)  # (N, H, blocks, S*C)
    if size == 1 and stretch * c >= _LONG:
        rows = mx.take(
            line.reshape(-1, stretch * c), _line_index(n, h, geometry, block), 0
        )
    else:
        starts = range(0, kh * dilation, dilation)
        span = down * (oh - 1) + 1
        rows = mx.concatenate([line[:, i : i + span : down] for i in starts], axis=3)
        rows = mx.view(rows, mx.float32) if size == 2 else rows
    return rows.reshape(-1, kh * stretch * c)  # from (N, OH, blocks, KH*S*C)


def _add_stretches(shares: Array, geometry: Geometry, block: int) -> Array:
    """Add overlapping stretches `(N, H, blocks, S, C)` into rows `(N, H, W, C)`.

    The transpose of cutting rows into stretches: the first pieces of all stretches make
    a row, the second pieces another, shifted by one piece, and so on.
    """
    n, h, blocks, stretch, c = shares.shape
    step, pieces = _pieces(geometry, block, stretch)
    shares = mx.pad(shares, [(0, 0)] * 3 + [(0, pieces * step - stretch), (0, 0)])
    total = reduce(
        mx.add,
        (
            mx.pad(
                shares[:, :, :, i * step : (i + 1) * step],
                [(0, 0), (0, 0), (i, pieces - 1 - i), (0, 0), (0, 0)],
            )
            for i in range(pieces)
        ),
    )
    left, width = geometry.padding[1][0], (blocks + pieces - 1) * step
    row = total.reshape(n, h, width, c)
    return pad(row, ((0, 0), (-left, geometry.size[1] + left - width)))


def _pieces(geometry: Geometry, block: int, stretch: int) -> Pair:
    """Input pixels from one block to the next, and such pieces in a stretch."""
    single = geometry.out[1] == block
    step = stretch if single else geometry.stride[1] * block
    return step, -(-stretch // step)


@lru_cache(maxsize=128)
def _selection(geometry: Geometry, block: int) -> Array:
    """1 where a tap connects an input to an output pixel: `(S*B, KW)`."""
    stretch = geometry.stride[1] * (block - 1) + geometry.extent[1]
    pixel, out, tap = np.indices((stretch, block, geometry.kernel[1]))
    met = out * geometry.stride[1] + tap * geometry.dilation[1]
    return mx.array((pixel == met).astype(np.float32).reshape(-1, geometry.kernel[1]))


@lru_cache(maxsize=128)
def _line_index(n: int, h: int, geometry: Geometry, block: int) -> Array:
    """Row of `(N, h, blocks)` for each output block and kernel row."""
    (oh, ow), kh = geometry.out, geometry.kernel[0]
    image, out, place, tap = np.indices((n, oh, ow // block, kh), sparse=True)
    row = out * geometry.stride[0] + tap * geometry.dilation[0]
    index = (image * h + row) * (ow // block) + place
    return mx.array(index.reshape(-1).astype(np.uint32))


@lru_cache(maxsize=128)
def _output_index(n: int, geometry: Geometry, block: int) -> Rows:
    """Row of `(N, OH, blocks)` for each input row, block and kernel row."""
    (oh, ow), kh = geometry.out, geometry.kernel[0]
    blocks = ow // block
    image, row, place, tap = np.indices((n, geometry.size[0], blocks, kh), sparse=True)
    start = row + geometry.padding[0][0] - tap * geometry.dilation[0]
    out, rest = np.divmod(start, geometry.stride[0])
    met = (rest == 0) & (out >= 0) & (out < oh)
    count = n * oh * blocks
    return rows_at(np.where(met, (image * oh + out) * blocks + place, count), count)
