"""Tiles of images as the rows of matrices, and back.

A chunk of tiles is a matrix with a row for each place in a tile: `(places, chunk * C)`.
A transform of all its tiles is one product with that matrix; a row of it is itself a
matrix `(chunk, C)`, which the kernels of that place are multiplied with.
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
    """How the tiles of a batch are arranged; hashable."""

    images: int
    grid: Pair  # tiles of an image
    piece: int  # tiles that are multiplied at a time
    pieces: int = 1  # in a chunk

    @property
    def tiles(self) -> int:
        """Tiles of the batch."""
        return self.images * self.grid[0] * self.grid[1]

    @property
    def chunk(self) -> int:
        """Tiles of a matrix."""
        return self.piece * self.pieces

    @property
    def chunks(self) -> int:
        """Matrices; the last may have more tiles than there are."""
        return -(-self.tiles // self.chunk)


def grid(size: Pair) -> Pair:
    """How many tiles cover an image."""
    return -(-size[0] // STEP), -(-size[1] // STEP)


def from_pixels(
    x: Array, layout: Layout, *, origin: Pair, side: int, zeros: bool = False
) -> Array:
    """Squares of `x` at every fourth pixel: `(chunks, side * side, chunk * C)`.

    The first starts at `-origin`; outside of `x` there are zeros. Tiles too many are
    zeros or, for which `x` need not be copied, any.
    """
    _, h, w, c = x.shape
    index = _tile_index((h, w), layout, origin, side, zeros)
    rows = take_rows(x.reshape(-1, c), index)
    return rows.reshape(layout.chunks, side * side, layout.chunk * c)


def to_pixels(tiles: Array, layout: Layout, size: Pair, panels: Pair) -> Array:
    """The images `(N, *size, A * B * width)`, `panels = (A, B)`.

    `tiles` are `(chunks * A, 16, B * chunk * width)`.
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
    """Where the panels of each pixel are in `(chunks, A, 16, B, chunk)`."""
    image, i, j, a, b = np.indices((layout.images, *size, *panels), sparse=True)
    tile = (image * layout.grid[0] + i // STEP) * layout.grid[1] + j // STEP
    row = tile // layout.chunk * panels[0] + a
    row = row * STEP**2 + i % STEP * STEP + j % STEP
    index = (row * panels[1] + b) * layout.chunk + tile % layout.chunk
    return mx.array(index.reshape(-1).astype(np.uint32))
