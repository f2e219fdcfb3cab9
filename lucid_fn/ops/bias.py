"""Adding one number per channel, and numbers per channel that are broadcast."""

from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import mlx.core as mx

from lucid_fn.cpu.memory import broadcast as spread
from lucid_fn.ops.channel_sum import sum_to
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.types import Array, ArrayFn

_FEW_CHANNELS = 64


def add_bias(y: Array, bias: Array) -> Array:
    """`y + bias` of `(..., C)` and `(C,)`; the gradient of the bias is exact."""
    dtype = mx.result_type(y, bias)
    return cast(Array, _add(y.astype(dtype), bias.astype(dtype)))


def _columns(y: Array) -> int:
    """Of an image row that is taken as one: loops over a few channels are slow."""
    narrow = y.ndim > 2 and y.shape[-1] < _FEW_CHANNELS
    return max(y.shape[-2], 1) if narrow else 1


@custom_function
def _add(y: Array, bias: Array) -> Array:
    channels, columns = bias.size, _columns(y)
    if columns > 1:
        bias = mx.tile(bias, columns).reshape(columns, channels)
    return spread.add(y, bias)


@_add.vjp
def _vjp(primals: tuple[Array, Array], g: Array, _: Array) -> tuple[Array, Array]:
    bias, columns = primals[1], _columns(g)
    by_column = sum_to(g.flatten(-2) if columns > 1 else g, (columns * bias.size,))
    total = sum_to(by_column.reshape(columns, bias.size), bias.shape)
    return g, total.astype(bias.dtype)


@_add.jvp
def _jvp(primals: Sequence[Array], tangents: Sequence[Array | None]) -> Array:
    dy, dbias = tangents
    if dbias is None:
        return cast(Array, dy)
    return cast(Array, _add(mx.zeros_like(primals[0]) if dy is None else dy, dbias))


def broadcast(channels: Array, x: Array) -> Array:
    """`(C,)`, or a single number, to the shape of `x`; the gradient is exact."""
    return cast(Array, _broadcast(x.shape)(channels))


@lru_cache(maxsize=512)
def _broadcast(shape: tuple[int, ...]) -> ArrayFn:
    run = custom_function(lambda channels: mx.broadcast_to(channels, shape))

    @run.vjp
    def vjp(channels: Array, g: Array, _: Array) -> Array:
        return sum_to(g, channels.shape).astype(channels.dtype)

    @run.jvp
    def jvp(_: Array, dchannels: Array) -> Array:
        return mx.broadcast_to(dchannels, shape)

    return cast(ArrayFn, run)
