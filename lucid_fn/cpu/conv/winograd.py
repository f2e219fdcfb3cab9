"""Stride-1 3x3 convolution as Winograd's F(4x4, 3x3).

Tiles of 6x6 inputs give 4x4 outputs: `Y = AT [ (G w GT) * (BT x B) ] A`, where the
product in the middle is a sum over channels: 36 matrix products with a quarter of the
multiplications of the direct form. Two-dimensional transforms are one matrix, the
Kronecker square of the one-dimensional one.

Source: Lavin & Gray, 2015, https://arxiv.org/abs/1509.09308, sections 4.1 to 4.3, with
the interpolation points 0, 1, -1, 1/2, -2 instead of 0, 1, -1, 2, -2. Largest error of
an output relative to the largest output, float32: 3e-6 to 5e-6, against 8e-6 to 1.4e-5
with theirs and 5e-7 of a direct sum.
"""

import math

import mlx.core as mx
import numpy as np

from lucid_fn.cpu import runtime
from lucid_fn.cpu.conv.winograd_tiles import Layout, from_pixels, grid, to_pixels
from lucid_fn.cpu.memory.rows import transpose_rows
from lucid_fn.cpu.parallel.streams import concat_split, map_split, sum_split
from lucid_fn.cpu.small_products import MAX_UNPACKED
from lucid_fn.ops.conv import Geometry, Pair
from lucid_fn.types import Array

_BT = np.array(
    [
        [2, -3, -4, 3, 2, 0],
        [0, -2, 1, 5, 2, 0],
        [0, -2, 5, -1, -2, 0],
        [0, 32, 16, -32, -16, 0],
        [0, 1, -2, -1, 2, 0],
        [0, 2, -3, -4, 3, 2],
    ],
    np.float64,
)
_G = (
    np.array(
        [[90, 0, 0], [30, 30, 30], [30, -30, 30], [12, 6, 3], [6, -12, 24], [0, 0, 90]],
        np.float64,
    )
    / 180
)
_AT = np.array(
    [
        [1, 1, 1, 1, 1, 0],
        [0, 1, -1, 1 / 2, -2, 0],
        [0, 1, 1, 1 / 4, 4, 0],
        [0, 1, -1, 1 / 8, -8, 1],
    ],
    np.float64,
)

# Elements in a row of a matrix of tiles: 52 tiles of 64 channels, 28 of 128. The BLAS
# multiplies four tiles at a time.
_ROW = 3328
_MIN_SUMMED = 52  # tiles that a product sums over; its result is written and read again
# Output channels of a product. Kernels of 64 stay in the L1 cache; those of 128 map to
# only half of its lines, and a product takes half as long again.
_PANEL = 64
_FEW = 128  # channels up to which all panels are inner ones, see `panels`
_MANY = 256  # channels beyond which a row of the forward pass holds all tiles


def forward(x: Array, weight: Array, geometry: Geometry) -> Array:
    """`(N, H, W, C)` and `(O, 3, 3, C)` to `(N, OH, OW, O)`."""
    o, _, _, c = weight.shape
    if runtime.packs_small_products():
        kernels = _kernels(_G, _taps(weight)).swapaxes(3, 4)
    else:  # small products with a transposed operand are slow
        taps = weight.reshape(*panels(o), 9, c).transpose(0, 3, 1, 4, 2)
        kernels = _kernels(_G, taps)
    top, left = geometry.padding[0][0], geometry.padding[1][0]
    return _convolve(x, kernels, (top, left), geometry.out)


def prepare(g: Array, in_channels: int, geometry: Geometry) -> list[Array]:
    """The transformed tiles of `g` for both gradients, a matrix for each shard.

    Sharing them saves a fifth of the time of both at 64 channels, and a tenth at 256.
    """
    origin = 2 - geometry.padding[0][0], 2 - geometry.padding[1][0]

    def shard(g: Array) -> Array:
        layout = layout_of_grads(g.shape[0], geometry.size, in_channels, g.shape[-1])
        # `weight_grad` sums over surplus tiles, too, so these have to be zero.
        tiles = from_pixels(g, layout, origin=origin, side=6, zeros=True)
        return transform(_BT, tiles)

    return map_split(shard, g)


def input_grad(g: Array, weight: Array, geometry: Geometry, *prepared: Array) -> Array:
    """The gradient of `forward` in `x`: a convolution with the mirrored kernel."""
    o, _, _, c = weight.shape
    kernels = _kernels(_G[:, ::-1], _taps(weight))

    def shard(g: Array, tiles: Array) -> Array:
        layout = layout_of_grads(g.shape[0], geometry.size, c, o)
        return _multiplied(tiles, kernels, layout, geometry.size)

    return concat_split(shard, g, list(prepared) or prepare(g, c, geometry))


def weight_grad(x: Array, g: Array, geometry: Geometry, *prepared: Array) -> Array:
    """The gradient of `forward` in `weight`: the same transforms, transposed.

    Each pixel of `x` is multiplied by a 3x3 window of `g`. The tiles of `g` are 6x6 and
    those of `x` 4x4, so that `input_grad` can share the former.
    """
    c, o = x.shape[-1], g.shape[-1]

    def shard(x: Array, tiles: Array) -> Array:
        layout = layout_of_grads(x.shape[0], geometry.size, c, o)
        pixels = transform(_AT.T, from_pixels(x, layout, origin=(0, 0), side=4))
        pixels = pixels.reshape(-1, 36, layout.chunk, c)
        windows = tiles.reshape(-1, 36, layout.chunk, o)
        products = windows.transpose(0, 1, 3, 2) @ pixels  # (chunks, 36, O, C)
        return products.squeeze(0) if layout.chunks == 1 else products.sum(axis=0)

    products = sum_split(shard, x, list(prepared) or prepare(g, c, geometry))
    # Reversed: the last pixel of a window of `g` belongs to the first tap.
    grad = square(_G.T[::-1]) @ products.reshape(36, o * c)
    return transpose_rows(grad.reshape(9, o, c), (1, 0)).reshape(o, 3, 3, c)


def _convolve(x: Array, kernels: Array, origin: Pair, size: Pair) -> Array:
    """The convolution at `size` windows of `x`, the first of which is at `-origin`."""
    outer, _, inner, c, width = kernels.shape

    def shard(x: Array) -> Array:
        layout = layout_of_tiles(x.shape[0], size, c, outer * inner * width)
        tiles = transform(_BT, from_pixels(x, layout, origin=origin, side=6))
        return _multiplied(tiles, kernels, layout, size)

    return concat_split(shard, x)


def _multiplied(tiles: Array, kernels: Array, layout: Layout, size: Pair) -> Array:
    """Transformed tiles `(chunks, 36, chunk * C)` to output pixels `(N, *size, O)`.

    `kernels` are `(A, 36, B, C, width)` for `O = A * B * width` output channels.
    """
    outer, _, inner, _, _ = kernels.shape
    sums = transform(_AT, multiply(tiles, kernels[None], layout))
    return to_pixels(sums, layout, size, (outer, inner))


def multiply(tiles: Array, kernels: Array, layout: Layout) -> Array:
    """Multiply transformed tiles by transformed kernels, at each point.

    Args:
        tiles: shape `(chunks, P, points, chunk * C)`, with or without axis 1.
        kernels: shape `(P, A, points, B, C, width)`, for `P` sets of tiles and
            `A * B * width` output channels.
        layout: of the tiles.

    Returns:
        Shape `(chunks * P * A, points, B * chunk * width)`.
    """
    sets, _, points, inner, c, width = kernels.shape
    tiles = tiles.reshape(-1, sets, 1, points, 1, layout.pieces, layout.piece, c)
    products = tiles @ kernels[..., None, :, :]
    # (chunks, P, A, points, B, pieces, piece, width)
    return products.reshape(-1, points, inner * layout.chunk * width)


def _taps(weight: Array) -> Array:
    """`(O, 3, 3, C)` to `(A, 9, B, O, width)`, with input channels in panels."""
    o, _, _, c = weight.shape
    return transpose_rows(weight.reshape(o, 9, *panels(c)), (2, 1, 3, 0))


def _kernels(matrix: np.ndarray, taps: Array) -> Array:
    """Transform kernels: `(A, 9, B, C, width)` to `(A, 36, B, C, width)`."""
    outer, _, *shape = taps.shape
    return transform(matrix, taps.reshape(outer, 9, -1)).reshape(outer, 36, *shape)


def panels(channels: int) -> tuple[int, int, int]:
    """How output channels are divided into panels: `(outer, inner, width)`.

    Inner panels are multiplied one after another by the same few tiles, which stay in
    the L1 cache. With many channels, all tiles of a row are multiplied by one outer
    panel, whose kernels stay in the L2 cache, before the next.
    """
    if channels % _PANEL or runtime.packs_small_products():
        return 1, 1, channels
    count = channels // _PANEL
    return (1, count, _PANEL) if channels <= _FEW else (count, 1, _PANEL)


def layout_of_tiles(images: int, size: Pair, c: int, o: int) -> Layout:
    """The layout of tiles in the forward pass: how many are multiplied at a time.

    If the BLAS does not pack small products, they save 14 to 35 % of the time of one
    product over all tiles; if it does, they take 1.6 to 2 times as long.
    """
    every = _every_tile(images, size)
    if runtime.packs_small_products():
        return every
    if max(c, o) > _MANY:
        return _in_pieces(every, c, o)
    return every._replace(piece=min(-(-_ROW // (4 * max(c, o))) * 4, every.tiles))


def layout_of_grads(images: int, size: Pair, c: int, o: int) -> Layout:
    """The layout of tiles for the gradients, one of which is a sum over tiles."""
    every = _every_tile(images, size)
    if runtime.packs_small_products():
        return every
    if max(c, o) > _FEW:
        return _in_pieces(every, o, c)
    return every._replace(piece=min(max(_ROW // max(c, o), _MIN_SUMMED), every.tiles))


def _every_tile(images: int, size: Pair) -> Layout:
    return Layout(images, grid(size), images * math.prod(grid(size)))


def _in_pieces(every: Layout, c: int, o: int) -> Layout:
    """All tiles in one chunk, so that large kernels are read once, not for each row."""
    pieces = -(-every.tiles // max(MAX_UNPACKED // (c * panels(o)[-1]), 1))
    return every._replace(piece=-(-every.tiles // pieces), pieces=pieces)


def transform(matrix: np.ndarray, rows: Array) -> Array:
    """Multiply by the Kronecker square of `matrix`: `(N, K, L)` to `(N, M, L)`.

    Short rows are multiplied by a few rows of it at a time, to keep products small.
    """
    twice = square(matrix)
    n, k, length = rows.shape
    fits = [
        r
        for r in (5, 4, 3, 2)
        if len(twice) % r == 0 and r * k * length <= MAX_UNPACKED
    ]
    if not fits or runtime.packs_small_products():
        return twice @ rows
    products = twice.reshape(-1, fits[0], k) @ rows[:, None]
    return products.reshape(n, -1, length)


def square(matrix: np.ndarray) -> Array:
    """The transform of both rows and columns as one matrix, a Kronecker square."""
    return mx.array(np.kron(matrix, matrix).astype(np.float32))
