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

from functools import lru_cache

import mlx.core as mx
import numpy as np

from lucid_fn import runtime
from lucid_fn.ops.conv_geometry import Geometry, Pair
from lucid_fn.ops.rows import Rows, rows_at, swap_rows, take_rows
from lucid_fn.ops.streams import concat_shards, sum_shards
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

# Numbers in a row of tiles: 54 tiles of 64 channels, 27 of 128. Multiples of 1024 would
# put the rows into few sets of the cache: a tenth slower.
_ROW = 3456


def forward(x: Array, weight: Array, geometry: Geometry) -> Array:
    """`(N, H, W, C)` and `(O, 3, 3, C)` to `(N, OH, OW, O)`."""
    o, _, _, c = weight.shape
    if _in_small_products(c, o):  # which are slow with a transposed operand
        kernels = _kernels(weight.reshape(o, 9, c).transpose(1, 2, 0), _G)
    else:
        kernels = _kernels(_taps(weight), _G).transpose(0, 2, 1)  # (36, C, O)
    top, left = geometry.padding[0][0], geometry.padding[1][0]
    return _convolve(x, kernels, (top, left), geometry.out)


def input_grad(g: Array, weight: Array, geometry: Geometry) -> Array:
    """The gradient of `forward` in `x`: a convolution with the kernel turned round."""
    kernels = _kernels(_taps(weight), _G[:, ::-1])  # (36, O, C)
    top, left = geometry.padding[0][0], geometry.padding[1][0]
    return _convolve(g, kernels, (2 - top, 2 - left), geometry.size)


def weight_grad(x: Array, g: Array, geometry: Geometry) -> Array:
    """The gradient of `forward` in `weight`: the same transforms, transposed."""
    c, o = x.shape[-1], g.shape[-1]
    top, left = geometry.padding[0][0], geometry.padding[1][0]
    grid = _grid(geometry.out)

    def shard(x: Array, g: Array) -> Array:
        tiles = x.shape[0] * grid[0] * grid[1]
        chunk = min(128, tiles) if c * o <= 64 * 64 else tiles
        inputs = _square(_BT) @ _tiles(x, (top, left), 6, grid, chunk)
        outputs = _square(_AT.T) @ _tiles(g, (0, 0), 4, grid, chunk)
        inputs = inputs.reshape(-1, 36, chunk, c)
        outputs = outputs.reshape(-1, 36, chunk, o)
        products = outputs.transpose(0, 1, 3, 2) @ inputs  # (chunks, 36, O, C)
        return products.squeeze(0) if chunk == tiles else products.sum(axis=0)

    products = sum_shards(shard, x, g)
    grad = _square(_G.T) @ products.reshape(36, o * c)
    return swap_rows(grad.reshape(9, o, c)).reshape(o, 3, 3, c)


def _taps(weight: Array) -> Array:
    """`(O, 3, 3, C)` to `(9, O, C)`."""
    o, _, _, c = weight.shape
    return swap_rows(weight.reshape(o, 9, c))


def _kernels(taps: Array, transform: np.ndarray) -> Array:
    """The transformed kernels: `(9, A, B)` to `(36, A, B)`."""
    _, a, b = taps.shape
    return (_square(transform) @ taps.reshape(9, a * b)).reshape(36, a, b)


def _convolve(x: Array, kernels: Array, origin: Pair, size: Pair) -> Array:
    """The sum over the 3x3 windows of `x` that start at `-origin`, `size` of them."""
    c, o = kernels.shape[1:]
    grid = _grid(size)

    def shard(x: Array) -> Array:
        n = x.shape[0]
        chunk = _chunk(n * grid[0] * grid[1], c, o)
        inputs = _transform(_BT, _tiles(x, origin, 6, grid, chunk))
        products = inputs.reshape(-1, 36, chunk, c) @ kernels
        outputs = _transform(_AT, products.reshape(-1, 36, chunk * o))
        rows = mx.take(outputs.reshape(-1, o), _pixel_index(n, size, chunk), axis=0)
        return rows.reshape(n, *size, o)

    return concat_shards(shard, x)


def _chunk(tiles: int, c: int, o: int) -> int:
    """How many tiles share a row of the matrix that holds them."""
    if not _in_small_products(c, o):
        return tiles
    return min(_ROW // max(c, o), tiles)


def _in_small_products(c: int, o: int) -> bool:
    """Whether a convolution multiplies few tiles at a time.

    Where the BLAS does not pack small products, short rows save 8 to 28 % of the time
    with one row for all tiles; where it does, rows of a dozen tiles take half as long
    again. With 256 channels, such rows have too few tiles for each reading of the
    kernels.
    """
    return max(c, o) <= 128 and not runtime.packs_small_products()


def _transform(matrix: np.ndarray, rows: Array) -> Array:
    """`(chunks, K, L)`, tiles of `K` numbers, to their transforms by the square.

    Short rows meet four rows of the matrix at a time, which keeps the products small.
    """
    square = _square(matrix)
    chunks, k, length = rows.shape
    if length > _ROW or runtime.packs_small_products():
        return square @ rows
    return (square.reshape(-1, 4, k) @ rows[:, None]).reshape(chunks, -1, length)


def _tiles(x: Array, origin: Pair, side: int, grid: Pair, chunk: int) -> Array:
    """Squares of `x` at every fourth pixel: `(chunks, side * side, chunk * C)`.

    The first starts at `-origin`; outside of `x` there are zeros.
    """
    n, h, w, c = x.shape
    index = _tile_index((n, h, w), origin, side, grid, chunk)
    return take_rows(x.reshape(-1, c), index).reshape(-1, side * side, chunk * c)


def _grid(size: Pair) -> Pair:
    return -(-size[0] // 4), -(-size[1] // 4)


@lru_cache(maxsize=128)
def _tile_index(
    shape: tuple[int, int, int], origin: Pair, side: int, grid: Pair, chunk: int
) -> Rows:
    n, h, w = shape
    tiles = n * grid[0] * grid[1]
    tile = np.arange(-(-tiles // chunk) * chunk)  # the last chunk is filled with zeros
    image, row, column = np.unravel_index(tile % tiles, (n, *grid))
    step = np.arange(side)
    i = (4 * row[:, None] - origin[0] + step)[:, :, None]  # (T, side, 1)
    j = (4 * column[:, None] - origin[1] + step)[:, None, :]  # (T, 1, side)
    inside = (i >= 0) & (i < h) & (j >= 0) & (j < w) & (tile < tiles)[:, None, None]
    index = np.where(inside, (image[:, None, None] * h + i) * w + j, n * h * w)
    index = index.reshape(-1, chunk, side * side).transpose(0, 2, 1)
    return rows_at(index, n * h * w)


@lru_cache(maxsize=128)
def _pixel_index(n: int, size: Pair, chunk: int) -> Array:
    """Where each output pixel is among the rows `(chunks, 16, chunk)`."""
    grid = _grid(size)
    image, i, j = np.indices((n, *size), sparse=True)
    tile = (image * grid[0] + i // 4) * grid[1] + j // 4
    index = (tile // chunk * 16 + i % 4 * 4 + j % 4) * chunk + tile % chunk
    return mx.array(index.reshape(-1).astype(np.uint32))


def _square(transform: np.ndarray) -> Array:
    return mx.array(np.kron(transform, transform).astype(np.float32))
