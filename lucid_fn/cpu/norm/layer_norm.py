"""Layer norm and RMS norm on CPUs, with gradients in closed form."""

from collections.abc import Sequence
from functools import lru_cache, partial, reduce
from typing import NamedTuple, cast

import mlx.core as mx

from lucid_fn.cpu.memory.broadcast import Arithmetic, map_rows, subtract
from lucid_fn.cpu.memory.row_reductions import row_dot, row_squares, row_sum
from lucid_fn.cpu.parallel.streams import concat, map_large
from lucid_fn.numerics import channel_sum, widen
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.norm import normalize_rows, scale_rows
from lucid_fn.ops.seam import plain
from lucid_fn.types import Array, ArrayFn

_FIRST = 64  # elements of a row whose mean approximates that of the row


def layer_norm(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    """`ops.norm.normalize_rows`."""
    if x.dtype == mx.float64:
        with plain():
            return normalize_rows(x, weight, bias, eps)
    return cast(Array, _layer_norm(eps)(widen(x), widen(weight), widen(bias)))


def rms_norm(x: Array, weight: Array, eps: float) -> Array:
    """`ops.norm.scale_rows`."""
    if x.dtype == mx.float64:
        with plain():
            return scale_rows(x, weight, eps)
    return cast(Array, _rms_norm(eps)(widen(x), widen(weight)))


class _Scale(NamedTuple):
    """Coefficients of the normalized rows `h = (x - start) * r + shift`, `(R, 1)`."""

    start: Array
    r: Array
    shift: Array


def _statistics(x: Array, eps: float) -> _Scale:
    # Subtracting a number near the mean first keeps the digits of rows far from 0.
    start = mx.mean(x[:, :_FIRST], axis=1, keepdims=True)
    x = subtract(x, start)
    mean = _row_mean(row_sum(x), x)
    variance = _row_mean(row_squares(x), x) - mx.square(mean)
    r = mx.rsqrt(mx.maximum(variance, 0.0) + eps)
    return _Scale(start, r, -mean * r)


def _inverse_rms(x: Array, eps: float) -> tuple[Array]:
    return (mx.rsqrt(_row_mean(row_squares(x), x) + eps),)


def _concat_each(parts: Sequence[tuple[Array, ...]]) -> list[Array]:
    """Concatenate corresponding results of the parts along axis 0."""
    return [concat(each) for each in zip(*parts, strict=True)]


def _normalized(
    by: Arithmetic, x: Array, start: Array, r: Array, shift: Array
) -> Array:
    return by.add(by.multiply(by.subtract(x, start), r), shift)


@lru_cache(maxsize=64)
def _layer_norm(eps: float) -> ArrayFn:
    def scaled(
        by: Arithmetic,
        x: Array,
        start: Array,
        r: Array,
        shift: Array,
        w: Array,
        b: Array,
    ) -> Array:
        return _normalized(by, x, start, r, shift) * w + b

    def grad_times_h(by: Arithmetic, x: Array, g: Array, *scale: Array) -> Array:
        return mx.contiguous(g * _normalized(by, x, *scale))

    def grad_of_x(
        by: Arithmetic,
        x: Array,
        g: Array,
        start: Array,
        r: Array,
        shift: Array,
        slope: Array,
        level: Array,
        w: Array,
    ) -> Array:
        h = _normalized(by, x, start, r, shift)
        return by.multiply(g, r) * w - by.add(by.multiply(h, slope), level)

    @custom_function
    def run(x: Array, weight: Array, bias: Array) -> Array:
        rows = _rows(x)
        scale = _concat_each(map_large(partial(_statistics, eps=eps), rows))
        return map_rows(scaled, [rows], scale, [weight, bias]).reshape(x.shape)

    @run.vjp
    def vjp(
        primals: tuple[Array, Array, Array], g: Array, _: Array
    ) -> tuple[Array, Array, Array]:
        x, weight, _ = primals
        rows, g = _rows(x), _rows(g)

        def part(x: Array, g: Array) -> tuple[Array, ...]:
            # With dh = g * weight: dx = r * (dh - mean(dh) - h * mean(dh * h)).
            scale = _statistics(x, eps)
            gh = map_rows(grad_times_h, [x, g], scale)
            mean = weight / len(weight)
            slope, level = (scale.r * row_dot(y, mean) for y in (gh, g))
            return *scale, slope, level, channel_sum(gh), channel_sum(g)

        *by_row, dweights, dbiases = zip(*map_large(part, rows, g), strict=True)
        dx = map_rows(grad_of_x, [rows, g], list(map(concat, by_row)), [weight])
        return dx.reshape(x.shape), reduce(mx.add, dweights), reduce(mx.add, dbiases)

    return cast(ArrayFn, run)


@lru_cache(maxsize=64)
def _rms_norm(eps: float) -> ArrayFn:
    def scaled(by: Arithmetic, x: Array, r: Array, w: Array) -> Array:
        return by.multiply(x, r) * w

    def grad_times_h(by: Arithmetic, x: Array, g: Array, r: Array) -> Array:
        return mx.contiguous(g * by.multiply(x, r))

    def grad_of_x(
        by: Arithmetic, x: Array, g: Array, r: Array, slope: Array, w: Array
    ) -> Array:
        return by.multiply(g, r) * w - by.multiply(by.multiply(x, r), slope)

    @custom_function
    def run(x: Array, weight: Array) -> Array:
        rows = _rows(x)
        scale = _concat_each(map_large(partial(_inverse_rms, eps=eps), rows))
        return map_rows(scaled, [rows], scale, [weight]).reshape(x.shape)

    @run.vjp
    def vjp(primals: tuple[Array, Array], g: Array, _: Array) -> tuple[Array, Array]:
        x, weight = primals
        rows, g = _rows(x), _rows(g)

        def part(x: Array, g: Array) -> tuple[Array, Array, Array]:
            (r,) = _inverse_rms(x, eps)
            gh = map_rows(grad_times_h, [x, g], [r])
            return r, r * row_dot(gh, weight / len(weight)), channel_sum(gh)

        *by_row, dweights = zip(*map_large(part, rows, g), strict=True)
        dx = map_rows(grad_of_x, [rows, g], list(map(concat, by_row)), [weight])
        return dx.reshape(x.shape), reduce(mx.add, dweights)

    return cast(ArrayFn, run)


def _rows(x: Array) -> Array:
    """`(..., C)` to `(R, C)`."""
    return x.reshape(-1, x.shape[-1])


def _row_mean(sums: Array, x: Array) -> Array:
    # A Python number would need a compiled kernel for each size of layer.
    return sums * mx.array(1 / x.shape[1])
