"""Layer norm and RMS norm on CPUs, with gradients in closed form."""

from collections.abc import Sequence
from functools import lru_cache, reduce
from typing import NamedTuple, cast

import mlx.core as mx

from lucid_fn.cpu.memory.broadcast import fuse_rows, subtract
from lucid_fn.cpu.memory.row_reductions import row_dot, row_squares, row_sum
from lucid_fn.cpu.parallel.streams import concat, map_large
from lucid_fn.numerics import channel_sum, widen
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.layer_norm import normalize_rows, scale_rows
from lucid_fn.ops.seam import plain
from lucid_fn.types import Array, ArrayFn

_FIRST = 64  # numbers of a row whose mean is near to that of the row


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    """`ops.layer_norm.normalize_rows`."""
    if x.dtype == mx.float64:
        with plain():
            return normalize_rows(x, weight, bias, eps)
    return cast(Array, _layer_norm(eps)(widen(x), widen(weight), widen(bias)))


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    """`ops.layer_norm.scale_rows`."""
    if x.dtype == mx.float64:
        with plain():
            return scale_rows(x, weight, eps)
    return cast(Array, _rms_norm(eps)(widen(x), widen(weight)))


class _Scale(NamedTuple):
    """How rows are normalized, `h = (x - start) * r + shift`; each `(R, 1)`."""

    start: Array
    r: Array
    shift: Array


def _statistics(x: Array, eps: float) -> _Scale:
    # Some number near to the mean, to keep the digits of rows far from 0.
    start = mx.mean(x[:, :_FIRST], axis=1, keepdims=True)
    x = subtract(x, start)
    mean = _row_mean(row_sum(x), x)
    variance = _row_mean(row_squares(x), x) - mx.square(mean)
    r = mx.rsqrt(mx.maximum(variance, 0.0) + eps)
    return _Scale(start, r, -mean * r)


def _inverse_rms(x: Array, eps: float) -> Array:
    return mx.rsqrt(_row_mean(row_squares(x), x) + eps)


def _of_all_rows(parts: Sequence[tuple[Array, ...]]) -> list[Array]:
    """What was computed of the parts of the rows, each along axis 0."""
    return [concat(each) for each in zip(*parts, strict=True)]


# Each kernel words `x - start` in its own way: in the same one, `mx.compile` would have
# a kernel for it that writes an array, which the others read.
@lru_cache(maxsize=64)
def _layer_norm(eps: float) -> ArrayFn:
    def statistics(x: Array) -> _Scale:
        return _statistics(x, eps)

    @custom_function
    def run(x: Array, weight: Array, bias: Array) -> Array:
        rows = _rows(x)
        scale = _of_all_rows(map_large(statistics, rows))
        y = fuse_rows(
            lambda x, start, r, shift, weight, bias: (
                ((x - start) * r + shift) * weight + bias
            ),
            [rows],
            scale,
            [weight, bias],
        )
        return y.reshape(x.shape)

    @run.vjp
    def vjp(
        primals: tuple[Array, Array, Array], g: Array, _: Array
    ) -> tuple[Array, Array, Array]:
        x, weight, _ = primals

        def part(x: Array, g: Array) -> tuple[Array, ...]:
            # With dh = g * weight: dx = r * (dh - mean(dh) - h * mean(dh * h)).
            start, r, shift = _statistics(x, eps)
            less = -start
            gh = fuse_rows(
                lambda x, g, less, r, shift: g * ((x + less) * r + shift),
                [x, g],
                [less, r, shift],
            )
            mean = weight / len(weight)
            slope = r * row_dot(gh, mean)
            level = r * row_dot(g, mean) + shift * slope
            return less, r, r * slope, level, channel_sum(gh), channel_sum(g)

        parts = map_large(part, _rows(x), _rows(g))
        columns = _of_all_rows([part[:4] for part in parts])
        dx = fuse_rows(
            lambda x, g, less, r, slope, level, weight: (
                g * weight * r - ((less + x) * slope + level)
            ),
            [_rows(x), _rows(g)],
            columns,
            [weight],
        )
        dweight, dbias = (
            reduce(mx.add, sums)
            for sums in zip(*(part[4:] for part in parts), strict=True)
        )
        return dx.reshape(x.shape), dweight, dbias

    return cast(ArrayFn, run)


@lru_cache(maxsize=64)
def _rms_norm(eps: float) -> ArrayFn:
    def statistics(x: Array) -> tuple[Array]:
        return (_inverse_rms(x, eps),)

    @custom_function
    def run(x: Array, weight: Array) -> Array:
        rows = _rows(x)
        scale = _of_all_rows(map_large(statistics, rows))
        y = fuse_rows(lambda x, r, weight: x * r * weight, [rows], scale, [weight])
        return y.reshape(x.shape)

    @run.vjp
    def vjp(primals: tuple[Array, Array], g: Array, _: Array) -> tuple[Array, Array]:
        x, weight = primals

        def part(x: Array, g: Array) -> tuple[Array, Array, Array]:
            r = _inverse_rms(x, eps)
            gh = fuse_rows(lambda x, g, r: g * (r * x), [x, g], [r])
            slope = mx.square(r) * row_dot(gh, weight / len(weight))
            return r, slope, channel_sum(gh)

        parts = map_large(part, _rows(x), _rows(g))
        dx = fuse_rows(
            lambda x, g, r, slope, weight: g * weight * r - x * slope,
            [_rows(x), _rows(g)],
            _of_all_rows([part[:2] for part in parts]),
            [weight],
        )
        return dx.reshape(x.shape), reduce(mx.add, (part[2] for part in parts))

    return cast(ArrayFn, run)


def _rows(x: Array) -> Array:
    """`(..., C)` to `(R, C)`."""
    return x.reshape(-1, x.shape[-1])


def _row_mean(sums: Array, x: Array) -> Array:
    # Not a Python number: a kernel of its own for each size of layer.
    return sums * mx.array(1 / x.shape[1])
