"""Convolution as matrix products of windows of the input (im2col).

The gradient in the input is in polyphase form: the input pixels of one phase (position
modulo the stride) meet the same taps, so each phase is a stride-1 convolution of the
output's gradient, without multiplying by inserted zeros. Each phase of rows takes one
product, whose columns are those of all column phases, already interleaved.
"""

from functools import lru_cache

import mlx.core as mx
import numpy as np

from lucid_fn.cpu.memory import words
from lucid_fn.cpu.memory.rows import Rows, rows_at, take_rows, transpose_rows
from lucid_fn.cpu.parallel.streams import concat_split, sum_split
from lucid_fn.numerics import sum_of_products
from lucid_fn.ops.conv import Geometry, Pair, taps
from lucid_fn.types import Array

_MANY = 64  # channels from which a product for each column phase is faster


def forward(x: Array, weight: Array, geometry: Geometry) -> Array:
    """`(N, H, W, C)` and `(O, KH, KW, C)` to `(N, OH, OW, O)`."""
    o = weight.shape[0]
    kernel = weight.reshape(o, -1).T  # (KH*KW*C, O)

    def shard(x: Array) -> Array:
        return (windows(x, geometry) @ kernel).reshape(-1, *geometry.out, o)

    return concat_split(shard, x)


def weight_grad(x: Array, g: Array, geometry: Geometry) -> Array:
    """The gradient of `forward` in `weight`, `(O, KH, KW, C)`."""
    o = g.shape[-1]

    def shard(x: Array, g: Array) -> Array:
        return sum_of_products(g.reshape(-1, o), windows(x, geometry))  # (O, KH*KW*C)

    return sum_split(shard, x, g).reshape(o, *geometry.kernel, x.shape[-1])


def input_grad(g: Array, weight: Array, geometry: Geometry) -> Array:
    """The gradient of `forward` in `x`, `(N, H, W, C)`.

    Row `h` of phase `q = h % stride` collects the kernel rows `k` with
    `h + padding = stride * i + dilation * k`: rows `i = h // stride + e` of `g`, where
    `dilation * k = q + padding - stride * e`. Columns likewise.
    """
    if geometry.out == (
        1,
        1,
    ):  # any stride will do: 0.6 instead of 5.6 ms for 4x4 pixels
        return _scattered(g, weight, geometry._replace(stride=geometry.padded))
    if _skips_pixels(geometry):
        return _scattered(g, weight, geometry)
    if geometry.stride == (1, 1) and geometry.dilation != (1, 1):
        return _mirrored(g, weight, geometry)
    (h, w), (sh, sw), c = geometry.size, geometry.stride, weight.shape[-1]
    kernel = weight.transpose(1, 2, 0, 3)  # (KH, KW, O, C)
    height, width = -(-h // sh), -(-w // sw)  # pixels of a phase
    every = _offsets(geometry, 1, range(sw))
    zeros = len(every) * sw > geometry.kernel[1]
    together = 1 if zeros and c >= _MANY else sw  # column phases in a product
    phases: list[tuple[Geometry, Array] | None] = []
    for q in range(sh):
        rows = _offsets(geometry, 0, range(q, q + 1))
        for r in range(0, sw, together):
            some = range(r, r + together)
            columns = _offsets(geometry, 1, some)
            if rows and columns:
                seen = _windows_at(geometry.out, (rows, columns), (height, width))
                matrix = _phase(kernel, geometry, q, some, rows, columns)
                phases.append((seen, matrix))
            else:  # stride > kernel: no output sees these pixels
                phases.append(None)

    def shard(g: Array) -> Array:
        n = len(g)
        shape = (n, height, width, together * c)
        grads = [
            mx.zeros(shape, g.dtype)
            if phase is None
            else (windows(g, phase[0]) @ phase[1]).reshape(shape)
            for phase in phases
        ]
        dx = grads[0]
        if len(grads) > 1:
            dx = words.concatenate(grads, axis=0).reshape(sh, -1, *shape)
            dx = transpose_rows(dx, (2, 3, 0, 4, 1))  # (N, H / SH, SH, W / SW, ...)
        return dx.reshape(n, height * sh, width * sw, c)[:, :h, :w]

    return concat_split(shard, g)


def _mirrored(g: Array, weight: Array, geometry: Geometry) -> Array:
    """`input_grad` for stride 1: the convolution of `g` with the mirrored kernel.

    The windows of a phase would span the extent of the dilated kernel, of which most is
    zero: 72 of 81 numbers for 3x3 taps and a dilation of 4.
    """
    rows, columns = (
        (extent - 1 - before, extent - 1 - after)
        for extent, (before, after) in zip(
            geometry.extent, geometry.padding, strict=True
        )
    )
    mirrored = geometry._replace(size=geometry.out, padding=(rows, columns))
    flipped = weight[:, ::-1, ::-1].transpose(3, 1, 2, 0)  # (C, KH, KW, O)
    return forward(g, flipped, mirrored)


def _skips_pixels(geometry: Geometry) -> bool:
    """Whether windows do not overlap and leave gaps."""
    pairs = list(zip(geometry.extent, geometry.stride, strict=True))
    return all(e <= s for e, s in pairs) and any(e < s for e, s in pairs)


def _scattered(g: Array, weight: Array, geometry: Geometry) -> Array:
    """`input_grad` if each pixel meets at most one tap.

    It takes half to two thirds of the time of the polyphase form for the 1x1 shortcuts
    of a ResNet, where most phases are zero.
    """
    o, c = weight.shape[0], weight.shape[-1]
    kernel = weight.reshape(o, -1)  # (O, KH*KW*C)

    def shard(g: Array) -> Array:
        rows = (g.reshape(-1, o) @ kernel).reshape(-1, c)  # (N*OH*OW*KH*KW, C)
        dx = take_rows(rows, _tap_index(g.shape[0], geometry))
        return dx.reshape(-1, *geometry.size, c)

    return concat_split(shard, g)


def windows(x: Array, geometry: Geometry) -> Array:
    """The inputs of every output, `(N*OH*OW, KH*KW*C)`; padding may be negative."""
    n, _, _, c = x.shape
    unit = geometry.kernel == geometry.stride == (1, 1)
    if unit and geometry.padding == ((0, 0), (0, 0)):
        return x.reshape(-1, c)
    kh, kw = geometry.kernel
    if c >= 16:
        rows = take_rows(x.reshape(-1, c), _window_index(n, geometry))
    elif kw * c >= 16:  # a kernel row is worth a memcpy, a pixel is not
        across = geometry._replace(
            kernel=(1, kw),
            stride=(1, geometry.stride[1]),
            dilation=(1, geometry.dilation[1]),
        )
        lines = mx.concatenate(taps(x, across), axis=-1)  # (N, HP, OW, KW*C)
        index = _line_index(n, geometry)
        rows = mx.take(lines.reshape(-1, kw * c), index, axis=0)
    else:
        rows = mx.concatenate(taps(x, geometry), axis=-1)
    return rows.reshape(-1, kh * kw * c)


@lru_cache(maxsize=128)
def _window_index(n: int, geometry: Geometry) -> Rows:
    """Row of `x.reshape(-1, C)` for each pixel of `windows`; padding is one past it."""
    (h, w), (kh, kw), (oh, ow) = geometry.size, geometry.kernel, geometry.out
    image, oi, oj, ki, kj = np.indices((n, oh, ow, kh, kw), sparse=True)
    i = oi * geometry.stride[0] + ki * geometry.dilation[0] - geometry.padding[0][0]
    j = oj * geometry.stride[1] + kj * geometry.dilation[1] - geometry.padding[1][0]
    inside = (i >= 0) & (i < h) & (j >= 0) & (j < w)
    return rows_at(np.where(inside, (image * h + i) * w + j, n * h * w), n * h * w)


@lru_cache(maxsize=128)
def _tap_index(n: int, geometry: Geometry) -> Rows:
    """Row of `(N, OH, OW, KH, KW)` for each pixel; one past the last if it has none."""
    (oh, ow), (kh, kw) = geometry.out, geometry.kernel
    image, *pixel = np.indices((n, *geometry.size), sparse=True)
    i, ki, met_i = _met(pixel[0], geometry, 0)
    j, kj, met_j = _met(pixel[1], geometry, 1)
    row = (((image * oh + i) * ow + j) * kh + ki) * kw + kj
    none = n * oh * ow * kh * kw
    return rows_at(np.where(met_i & met_j, row, none), none)


def _met(
    pixel: np.ndarray, geometry: Geometry, axis: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The output and tap that meet at each pixel, and whether they exist."""
    output, rest = np.divmod(pixel + geometry.padding[axis][0], geometry.stride[axis])
    tap, between = np.divmod(rest, geometry.dilation[axis])
    met = (between == 0) & (tap < geometry.kernel[axis]) & (output < geometry.out[axis])
    return output, tap, met


@lru_cache(maxsize=128)
def _line_index(n: int, geometry: Geometry) -> Array:
    """Row of `(N, padded H, OW)` for each output and kernel row."""
    (hp, _), (oh, ow), kh = geometry.padded, geometry.out, geometry.kernel[0]
    image, i, j, tap = np.indices((n, oh, ow, kh), sparse=True)
    row = i * geometry.stride[0] + tap * geometry.dilation[0]
    index = (image * hp + row) * ow + j
    return mx.array(index.reshape(-1).astype(np.uint32))


def _tap(geometry: Geometry, axis: int, phase: int, offset: int) -> int | None:
    """The tap from pixel `stride * i + phase` to output `i + offset`, or `None`."""
    span = (
        phase + geometry.padding[axis][0] - geometry.stride[axis] * offset
    )  # dilation * position
    position, rest = divmod(span, geometry.dilation[axis])
    return position if rest == 0 and 0 <= position < geometry.kernel[axis] else None


def _offsets(geometry: Geometry, axis: int, phases: range) -> range:
    """The outputs that pixels of these phases reach, relative to `pixel // stride`."""
    padding, stride = geometry.padding[axis][0], geometry.stride[axis]
    reach = geometry.extent[axis] - 1
    candidates = range(
        (padding - reach) // stride - 1, (padding + stride) // stride + 1
    )
    found = [
        offset
        for offset in candidates
        if any(_tap(geometry, axis, phase, offset) is not None for phase in phases)
    ]
    return range(found[0], found[-1] + 1) if found else range(0)


def _windows_at(size: Pair, offsets: tuple[range, range], out: Pair) -> Geometry:
    """The windows of an image at `offsets` from each of `out` pixels."""
    rows, columns = offsets
    padding = (
        (-rows[0], out[0] - 1 + rows[-1] - (size[0] - 1)),
        (-columns[0], out[1] - 1 + columns[-1] - (size[1] - 1)),
    )
    kernel = (len(rows), len(columns))
    return Geometry(size, kernel, (1, 1), padding, (1, 1), 1)


def _phase(
    kernel: Array,
    geometry: Geometry,
    q: int,
    phases: range,
    rows: range,
    columns: range,
) -> Array:
    """The matrix that multiplies windows of `g`: `(rows*columns*O, phases*C)`."""
    zero = mx.zeros(kernel.shape[2:], kernel.dtype)  # (O, C)
    blocks = []
    for e in rows:
        for d in columns:
            line = []
            for r in phases:
                i, j = _tap(geometry, 0, q, e), _tap(geometry, 1, r, d)
                line.append(zero if i is None or j is None else kernel[i, j])
            blocks.append(line[0] if len(line) == 1 else mx.concatenate(line, axis=1))
    return mx.concatenate(blocks, axis=0)
