"""Layer norm and RMS norm on CPUs, with gradients in closed form."""

from functools import lru_cache, reduce
from typing import NamedTuple, cast

import mlx.core as mx

from lucid_fn.cpu.memory.broadcast import multiply, subtract
from lucid_fn.cpu.memory.row_reductions import row_dot, row_sum
from lucid_fn.cpu.parallel.streams import concat, map_large
from lucid_fn.numerics import channel_sum, widen
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.layer_norm import normalize_rows, scale_rows
from lucid_fn.ops.seam import plain
from lucid_fn.types import Array, ArrayFn


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


class _Rows(NamedTuple):
    """Normalized rows `h` `(R, C)`, and what they were divided by, `1 / r` `(R, 1)`."""

    h: Array
    r: Array


def _centre_and_scale(x: Array, eps: float) -> _Rows:
    x = subtract(x, _row_mean(x))
    rest = _row_mean(x)  # digits that the float32 mean of rows far from 0 has lost
    r = mx.rsqrt(_row_mean(mx.square(x)) - mx.square(rest) + eps)
    return _Rows(multiply(subtract(x, rest), r), r)


def _scale(x: Array, eps: float) -> _Rows:
    r = mx.rsqrt(_row_mean(mx.square(x)) + eps)
    return _Rows(multiply(x, r), r)


@lru_cache(maxsize=64)
def _layer_norm(eps: float) -> ArrayFn:
    @custom_function
    def run(x: Array, weight: Array, bias: Array) -> Array:
        def part(x: Array) -> Array:
            return _centre_and_scale(x, eps).h * weight + bias

        return concat(map_large(part, _rows(x))).reshape(x.shape)

    @run.vjp
    def vjp(
        primals: tuple[Array, Array, Array], g: Array, _: Array
    ) -> tuple[Array, Array, Array]:
        x, weight, _ = primals

        def part(x: Array, g: Array) -> tuple[Array, Array, Array]:
            # With dh = g * weight: dx = r * (dh - mean(dh) - h * mean(dh * h)).
            h, r = _centre_and_scale(x, eps)
            gh, scale = mx.contiguous(g * h), weight / len(weight)
            along_h = multiply(h, row_dot(gh, scale))
            rest = subtract(mx.contiguous(g * weight - along_h), row_dot(g, scale))
            return multiply(rest, r), channel_sum(gh), channel_sum(g)

        dx, *sums = zip(*map_large(part, _rows(x), _rows(g)), strict=True)
        dweight, dbias = (reduce(mx.add, parts) for parts in sums)
        return concat(dx).reshape(x.shape), dweight, dbias

    return cast(ArrayFn, run)


@lru_cache(maxsize=64)
def _rms_norm(eps: float) -> ArrayFn:
    @custom_function
    def run(x: Array, weight: Array) -> Array:
        def part(x: Array) -> Array:
            return _scale(x, eps).h * weight

        return concat(map_large(part, _rows(x))).reshape(x.shape)

    @run.vjp
    def vjp(primals: tuple[Array, Array], g: Array, _: Array) -> tuple[Array, Array]:
        x, weight = primals

        def part(x: Array, g: Array) -> tuple[Array, Array]:
            h, r = _scale(x, eps)
            gh = mx.contiguous(g * h)
            along_h = multiply(h, row_dot(gh, weight / len(weight)))
            return multiply(mx.contiguous(g * weight - along_h), r), channel_sum(gh)

        dx, dweight = zip(*map_large(part, _rows(x), _rows(g)), strict=True)
        return concat(dx).reshape(x.shape), reduce(mx.add, dweight)

    return cast(ArrayFn, run)


def _rows(x: Array) -> Array:
    """`(..., C)` to `(R, C)`."""
    return x.reshape(-1, x.shape[-1])


def _row_mean(x: Array) -> Array:
    """`(R, C)` to `(R, 1)`."""
    # Not a Python number: a kernel of its own for each size of layer.
    return multiply(row_sum(x), mx.array(1 / x.shape[1]))
