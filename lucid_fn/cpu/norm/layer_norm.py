"""Layer norm and RMS norm on CPUs, with gradients in closed form."""

from functools import lru_cache
from typing import NamedTuple, cast

import mlx.core as mx

from lucid_fn.cpu.memory.broadcast import multiply, subtract
from lucid_fn.cpu.memory.row_reductions import row_sum
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
        h, _ = _centre_and_scale(_rows(x), eps)
        return (h * weight + bias).reshape(x.shape)

    @run.vjp
    def vjp(
        primals: tuple[Array, Array, Array], g: Array, _: Array
    ) -> tuple[Array, Array, Array]:
        x, weight, _ = primals
        g = _rows(g)
        h, r = _centre_and_scale(_rows(x), eps)
        dh = multiply(g, weight)
        along_h = multiply(h, _row_mean(mx.contiguous(dh * h)))
        dx = multiply(subtract(mx.contiguous(dh - along_h), _row_mean(dh)), r)
        return dx.reshape(x.shape), channel_sum(g * h), channel_sum(g)

    return cast(ArrayFn, run)


@lru_cache(maxsize=64)
def _rms_norm(eps: float) -> ArrayFn:
    @custom_function
    def run(x: Array, weight: Array) -> Array:
        h, _ = _scale(_rows(x), eps)
        return (h * weight).reshape(x.shape)

    @run.vjp
    def vjp(primals: tuple[Array, Array], g: Array, _: Array) -> tuple[Array, Array]:
        x, weight = primals
        g = _rows(g)
        h, r = _scale(_rows(x), eps)
        dh = multiply(g, weight)
        along_h = multiply(h, _row_mean(mx.contiguous(dh * h)))
        dx = multiply(mx.contiguous(dh - along_h), r)
        return dx.reshape(x.shape), channel_sum(g * h)

    return cast(ArrayFn, run)


def _rows(x: Array) -> Array:
    """`(..., C)` to `(R, C)`."""
    return x.reshape(-1, x.shape[-1])


def _row_mean(x: Array) -> Array:
    """`(R, C)` to `(R, 1)`."""
    # Not a Python number: a kernel of its own for each size of layer.
    return multiply(row_sum(x), mx.array(1 / x.shape[1]))
