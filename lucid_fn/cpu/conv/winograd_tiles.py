"""Gathers tiles of images into matrices, and pixels from these.

A chunk of tiles is a matrix with a row for each place in a tile, `(places, chunk * C)`.
One product transforms all of its tiles; each row is itself a matrix `(chunk, C)` to be
multiplied by the kernels of that place.
"""

from functools import lru_cache
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from lucid_fn.cpu.memory.rows import Rows, rows_at, take_rows
from lucid_fn.ops.conv import Pair
from lucid_fn.types import Array

STEP = 4  # pixels from one tile to the next


class Layout(NamedTuple):
    """The arrangement of the tiles of a batch; hashable."""

    images: int
    grid: Pair  # tiles of an image
    piece: int  # tiles in a product
    pieces: int = 1  # in a chunk

    @property
    def tiles(self) -> int:
        """Tiles of the batch."""
        return self.images * self.grid[0] * self.grid[1]

    @property
    def chunk(self) -> int:
        """Tiles in a matrix."""
        return self.piece * self.pieces

    @property
    def chunks(self) -> int:
        """Number of matrices; the last one may have surplus tiles."""
        return -(-self.tiles // self.chunk)


def grid(size: Pair) -> Pair:
    """The rows and columns of tiles that cover an image."""
    return -(-size[0] // STEP), -(-size[1] // STEP)


def from_pixels(
    x: Array, layout: Layout, *, origin: Pair, side: int, zeros: bool = False
) -> Array:
    """Tiles of `x` at every fourth pixel: `(chunks, side * side, chunk * C)`.

    The first tile starts at `-origin`, and `x` is padded with zeros. Surplus tiles are
    zero if `zeros`, else arbitrary, which may save a copy of `x`.
    """
    _, h, w, c = x.shape
    index = _tile_index((h, w), layout, origin, side, zeros)
    rows = take_rows(x.reshape(-1, c), index)
    return rows.reshape(layout.chunks, side * side, layout.chunk * c)


def to_pixels(tiles: Array, layout: Layout, size: Pair, panels: Pair) -> Array:
    """Tiles `(chunks * A, 16, B * chunk * width)` to images `(N, *size, channels)`.

    `panels` is `(A, B)`; there are `A * B * width` channels.
    """
    channels = panels[0] * panels[1]
    width = tiles.size // (layout.chunks * layout.chunk * STEP**2 * channels)
    index = _pixel_index(size, layout, panels)
    rows = mx.take(tiles.reshape(-1, width), index, axis=0)
    return rows.reshape(layout.images, *size, channels * width)


@lru_cache(maxsize=128)
def _tile_index(
    size: Pair, layout: Layout, origin: Pair, side: int, zeros: bool
) -> Rows:
    h, w = size
    tile = np.arange(layout.chunks * layout.chunk)
    image, row, column = np.unravel_index(
        tile % layout.tiles, (layout.images, *layout.grid)
    )
    place = np.arange(side)
    i = (STEP * row[:, None] - origin[0] + place)[:, :, None]  # (T, side, 1)
    j = (STEP * column[:, None] - origin[1] + place)[:, None, :]  # (T, 1, side)
    inside = (i >= 0) & (i < h) & (j >= 0) & (j < w)
    if zeros:
        inside = inside & (tile < layout.tiles)[:, None, None]
    outside = layout.images * h * w
    index = np.where(inside, (image[:, None, None] * h + i) * w + j, outside)
    index = index.reshape(-1, layout.chunk, side * side)
    return rows_at(index.transpose(0, 2, 1), outside)


@lru_cache(maxsize=128)
def _pixel_index(size: Pair, layout: Layout, panels: Pair) -> Array:
    """Index into `(chunks, A, 16, B, chunk)` for each pixel and panel."""
    image, i, j, a, b = np.indices((layout.images, *size, *panels), sparse=True)
    tile = (image * layout.grid[0] + i // STEP) * layout.grid[1] + j // STEP
    row = tile // layout.chunk * panels[0] + a
    row = row * STEP**2 + i % STEP * STEP + j % STEP
    index = (row * panels[1] + b) * layout.chunk + tile % layout.chunk
    return mx.array(index.reshape(-1).astype(np.uint32))
