"""4x4 convolution with stride 2 as Winograd's F(4x4, 2x2).

Pixels of one phase (position modulo the stride) meet 2x2 of the taps, so this is a
convolution with stride 1 and four times as many channels. Tiles of 5x5 inputs give 4x4
outputs: 25 matrix products with 25/64 of the multiplications of the direct form. The
gradient in the input is such a convolution of the output's gradient for each phase.

Source: as `winograd`, with the interpolation points 0, 1, -1 and -2. Largest error of
an output relative to the largest output, float32: 4e-6 to 8e-6.
"""

from functools import lru_cache

import mlx.core as mx
import numpy as np

from lucid_fn.cpu.conv.winograd import (
    layout_of_grads,
    layout_of_tiles,
    multiply,
    panels,
    square,
    transform,
)
from lucid_fn.cpu.conv.winograd_tiles import STEP, Layout, from_pixels, to_pixels
from lucid_fn.cpu.memory.rows import Rows, rows_at, take_rows
from lucid_fn.cpu.parallel.streams import concat_split, sum_split
from lucid_fn.ops.conv import Geometry, Pair
from lucid_fn.types import Array

_BT = (
    np.array(
        [
            [6, 3, -6, -3, 0],
            [0, 2, 3, 1, 0],
            [0, -6, 3, 3, 0],
            [0, 1, 0, -1, 0],
            [0, -12, -6, 12, 6],
        ],
        np.float64,
    )
    / 6
)
_G = np.array([[1, 0], [1, 1], [1, -1], [1, -2], [0, 1]], np.float64)
_AT = np.array(
    [[1, 1, 1, 1, 0], [0, 1, -1, -2, 0], [0, 1, 1, 4, 0], [0, 1, -1, -8, 1]],
    np.float64,
)
_SIDE = 5  # inputs of a tile
_PHASES = 4


def forward(x: Array, weight: Array, geometry: Geometry) -> Array:
    """`(N, H, W, C)` and `(O, 4, 4, C)` to `(N, OH, OW, O)`."""
    o, c = len(weight), weight.shape[-1]
    outer, inner, width = panels(o)
    taps = weight.reshape(outer, inner, width, 2, 2, 2, 2, c)
    taps = taps.transpose(0, 3, 5, 1, 4, 6, 7, 2)  # (A, 2, 2, B, 2, 2, C, width)
    kernels = transform(_G, taps.reshape(outer, 4, -1))
    kernels = kernels.reshape(1, outer, _SIDE**2, inner, _PHASES * c, width)

    def shard(x: Array) -> Array:
        layout = layout_of_tiles(len(x), geometry.out, _PHASES * c, o)
        tiles = multiply(_tiles(x, geometry, layout), kernels, layout)
        return to_pixels(transform(_AT, tiles), layout, geometry.out, (outer, inner))

    return concat_split(shard, x)


def input_grad(g: Array, weight: Array, geometry: Geometry) -> Array:
    """The gradient of `forward` in `x`, `(N, H, W, C)`."""
    (h, w), o, c = geometry.size, len(weight), weight.shape[-1]
    outer, inner, width = panels(c)
    taps = weight.reshape(o, 2, 2, 2, 2, outer, inner, width)
    taps = taps.transpose(2, 4, 5, 1, 3, 6, 0, 7)  # (2, 2, A, 2, 2, B, O, width)
    kernels = transform(_G[:, ::-1], taps.reshape(_PHASES * outer, 4, -1))
    kernels = kernels.reshape(_PHASES, outer, _SIDE**2, inner, o, width)

    def shard(g: Array) -> Array:
        layout = layout_of_tiles(len(g), (-(-h // 2), -(-w // 2)), o, c)
        rows = take_rows(g.reshape(-1, o), _grad_index(geometry, layout))
        tiles = transform(_BT, rows.reshape(-1, _SIDE**2, layout.chunk * o))
        pixels = transform(_AT, multiply(tiles, kernels, layout))
        index = _phase_index(geometry, layout, (outer, inner))
        return mx.take(pixels.reshape(-1, width), index, axis=0).reshape(-1, h, w, c)

    return concat_split(shard, g)


def weight_grad(x: Array, g: Array, geometry: Geometry) -> Array:
    """The gradient of `forward` in `weight`: the same transforms, transposed."""
    c, o = x.shape[-1], g.shape[-1]

    def shard(x: Array, g: Array) -> Array:
        layout = layout_of_grads(len(x), geometry.out, _PHASES * c, o)
        tiles = _tiles(x, geometry, layout)
        tiles = tiles.reshape(-1, _SIDE**2, layout.chunk, _PHASES * c)
        pixels = transform(_AT.T, from_pixels(g, layout, origin=(0, 0), side=STEP))
        pixels = pixels.reshape(-1, _SIDE**2, layout.chunk, o)
        products = pixels.swapaxes(2, 3) @ tiles  # (chunks, 25, O, 4 * C)
        return products.squeeze(0) if layout.chunks == 1 else products.sum(axis=0)

    grad = square(_G.T) @ sum_split(shard, x, g).reshape(_SIDE**2, -1)
    grad = grad.reshape(2, 2, o, 2, 2, c).transpose(2, 0, 3, 1, 4, 5)
    return grad.reshape(o, 4, 4, c)


def _tiles(x: Array, geometry: Geometry, layout: Layout) -> Array:
    """The transformed inputs of all phases, `(chunks, 25, chunk * 4 * C)`."""
    rows = take_rows(x.reshape(-1, x.shape[-1]), _input_index(geometry, layout))
    return transform(_BT, rows.reshape(layout.chunks, _SIDE**2, -1))


@lru_cache(maxsize=128)
def _input_index(geometry: Geometry, layout: Layout) -> Rows:
    """Pixel index `(chunks, 5, 5, chunk, 2, 2)` for each tile, place and phase."""
    (top, _), (left, _) = geometry.padding
    image, row, column = _corners(layout, zeros=True)
    place, phase = np.ogrid[:_SIDE, :2]
    i = 2 * (row[:, None, None] + place) + phase - top  # (T, 5, 2)
    j = 2 * (column[:, None, None] + place) + phase - left
    index = _pixels(image, i, j, (layout.images, *geometry.size))
    index = index.reshape(layout.chunks, layout.chunk, *index.shape[1:])
    outside = layout.images * geometry.size[0] * geometry.size[1]
    return rows_at(index.transpose(0, 2, 3, 1, 4, 5), outside)


@lru_cache(maxsize=128)
def _grad_index(geometry: Geometry, layout: Layout) -> Rows:
    """Output index `(chunks, 2, 2, 5, 5, chunk)` for each phase, tile and place."""
    image, row, column = _corners(layout)
    place = np.arange(_SIDE)[:, None]
    i = row[:, None, None] + place + _first(geometry, 0) - 1  # (T, 5, 2)
    j = column[:, None, None] + place + _first(geometry, 1) - 1
    index = _pixels(image, i, j, (layout.images, *geometry.out))
    index = index.reshape(layout.chunks, layout.chunk, *index.shape[1:])
    outside = layout.images * geometry.out[0] * geometry.out[1]
    return rows_at(index.transpose(0, 4, 5, 2, 3, 1), outside)


@lru_cache(maxsize=128)
def _phase_index(geometry: Geometry, layout: Layout, panels: Pair) -> Array:
    """Index into `(chunks, 2, 2, A, 16, B, chunk)` for each pixel and panel."""
    (top, _), (left, _) = geometry.padding
    image, i, j, a, b = np.indices(
        (layout.images, *geometry.size, *panels), sparse=True
    )
    vertical, horizontal = (i + top) % 2, (j + left) % 2
    row = (i + top) // 2 - _first(geometry, 0)[vertical]
    column = (j + left) // 2 - _first(geometry, 1)[horizontal]
    tile = (image * layout.grid[0] + row // STEP) * layout.grid[1] + column // STEP
    index = tile // layout.chunk * _PHASES + 2 * vertical + horizontal
    index = (index * panels[0] + a) * STEP**2 + row % STEP * STEP + column % STEP
    index = (index * panels[1] + b) * layout.chunk + tile % layout.chunk
    return mx.array(index.reshape(-1).astype(np.uint32))


def _corners(layout: Layout, *, zeros: bool = False) -> tuple[np.ndarray, ...]:
    """The image and the first row and column of each tile.

    Surplus tiles repeat the first ones or, with `zeros`, lie in an image that does not
    exist.
    """
    tile = np.arange(layout.chunks * layout.chunk)
    image, row, column = np.unravel_index(
        tile % layout.tiles, (layout.images, *layout.grid)
    )
    if zeros:
        image = np.where(tile < layout.tiles, image, layout.images)
    return image, STEP * row, STEP * column


def _pixels(
    image: np.ndarray, i: np.ndarray, j: np.ndarray, shape: tuple[int, int, int]
) -> np.ndarray:
    """Indices of pixels `(T, 5, 5, 2, 2)`; one past the last for those outside."""
    n, h, w = shape
    image = image[:, None, None, None, None]
    i, j = i[:, :, None, :, None], j[:, None, :, None, :]
    inside = (image < n) & (i >= 0) & (i < h) & (j >= 0) & (j < w)
    return np.where(inside, (image * h + i) * w + j, n * h * w)


def _first(geometry: Geometry, axis: int) -> np.ndarray:
    """The first row or column of each phase that is not padding, `(2,)`."""
    return -((np.arange(2) - geometry.padding[axis][0]) // 2)
