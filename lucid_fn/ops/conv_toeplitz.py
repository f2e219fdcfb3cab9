"""Convolution with few channels as one matrix product of whole image rows.

A row of `W` pixels of `C` channels times a banded matrix (a block Toeplitz matrix of
the kernel) is a row of the output: more multiplications, by `W / KW`, but none of the
short copies of im2col, and a product wide enough for the BLAS to run at full speed.
"""

from functools import lru_cache

import mlx.core as mx
import numpy as np

from lucid_fn.ops.conv_geometry import Geometry
from lucid_fn.ops.rows import take_rows
from lucid_fn.ops.streams import concat_shards, sum_shards
from lucid_fn.types import Array


def forward(x: Array, weight: Array, geometry: Geometry) -> Array:
    """`(N, H, W, C)` and `(O, KH, KW, C)` to `(N, OH, OW, O)`."""
    o, (oh, ow) = weight.shape[0], geometry.out
    band = _band(weight, geometry)  # (KH*W*C, OW*O)

    def shard(x: Array) -> Array:
        return (_rows(x, geometry) @ band).reshape(-1, oh, ow, o)

    return concat_shards(shard, x)


def input_grad(g: Array, weight: Array, geometry: Geometry) -> Array:
    """The gradient of `forward` in `x`, `(N, H, W, C)`."""
    c, (h, w), kh = weight.shape[-1], geometry.size, geometry.kernel[0]
    band = _band(weight, geometry)

    def shard(g: Array) -> Array:
        n, oh, _, _ = g.shape
        shares = g.reshape(n * oh, -1) @ band.T  # (N*OH, KH*W*C)
        index = _reach_index(n, geometry)
        shares = take_rows(shares.reshape(n * oh * kh, w * c), index)
        return shares.reshape(n * h, kh, w * c).sum(axis=1).reshape(n, h, w, c)

    return concat_shards(shard, g)


def weight_grad(x: Array, g: Array, geometry: Geometry) -> Array:
    """The gradient of `forward` in `weight`, `(O, KH, KW, C)`."""
    c, o, w = x.shape[-1], g.shape[-1], geometry.size[1]
    (kh, kw), ow = geometry.kernel, geometry.out[1]

    def shard(x: Array, g: Array) -> Array:
        return g.reshape(-1, ow * o).T @ _rows(x, geometry)

    band = sum_shards(shard, x, g).reshape(ow, o, kh, w, c)
    meets = band.transpose(3, 0, 1, 2, 4).reshape(w * ow, o * kh * c)
    grad = _selection(geometry).T @ meets  # (KW, O*KH*C)
    return grad.reshape(kw, o, kh, c).transpose(1, 2, 0, 3)


def _band(weight: Array, geometry: Geometry) -> Array:
    """The matrix that takes `KH` rows of the input to one of the output."""
    o, kh, kw, c = weight.shape
    w, ow = geometry.size[1], geometry.out[1]
    taps = weight.transpose(2, 1, 3, 0).reshape(kw, kh * c * o)
    band = _selection(geometry) @ taps  # (W*OW, KH*C*O)
    band = band.reshape(w, ow, kh, c, o).transpose(2, 0, 3, 1, 4)
    return band.reshape(kh * w * c, ow * o)


def _rows(x: Array, geometry: Geometry) -> Array:
    """The input rows of every output row, `(N*OH, KH*W*C)`."""
    n, h, w, c = x.shape
    rows = take_rows(x.reshape(n * h, w * c), _row_index(n, geometry))
    return rows.reshape(-1, geometry.kernel[0] * w * c)


@lru_cache(maxsize=128)
def _selection(geometry: Geometry) -> Array:
    """1 where an input column, an output column and a tap meet: `(W*OW, KW)`."""
    column, out, tap = np.indices(
        (geometry.size[1], geometry.out[1], geometry.kernel[1])
    )
    met = out * geometry.stride[1] + tap * geometry.dilation[1] - geometry.padding[1][0]
    return mx.array((column == met).astype(np.float32).reshape(-1, geometry.kernel[1]))


@lru_cache(maxsize=128)
def _row_index(n: int, geometry: Geometry) -> Array:
    """Row of `x.reshape(N*H, ...)` for each output row and kernel row."""
    h = geometry.size[0]
    image, out, tap = np.indices((n, geometry.out[0], geometry.kernel[0]), sparse=True)
    row = out * geometry.stride[0] + tap * geometry.dilation[0] - geometry.padding[0][0]
    index = np.where((row >= 0) & (row < h), image * h + row, n * h)
    return mx.array(index.reshape(-1).astype(np.uint32))


@lru_cache(maxsize=128)
def _reach_index(n: int, geometry: Geometry) -> Array:
    """For each input row and kernel row, the output row that they met in."""
    oh, kh = geometry.out[0], geometry.kernel[0]
    image, row, tap = np.indices((n, geometry.size[0], kh), sparse=True)
    start = row + geometry.padding[0][0] - tap * geometry.dilation[0]
    out, rest = np.divmod(start, geometry.stride[0])
    met = (rest == 0) & (out >= 0) & (out < oh)
    index = np.where(met, (image * oh + out) * kh + tap, n * oh * kh)
    return mx.array(index.reshape(-1).astype(np.uint32))
