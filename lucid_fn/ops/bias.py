"""Adding and broadcasting an array of channels, with exact gradients."""

from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import mlx.core as mx

from lucid_fn.numerics import channel_sum, sum_to
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.seam import replaceable
from lucid_fn.types import Array, ArrayFn


def add_bias(y: Array, bias: Array) -> Array:
    """`y + bias` of `(..., C)` and `(C,)`; the gradient of the bias is exact."""
    dtype = mx.result_type(y, bias)
    return cast(Array, _add(y.astype(dtype), bias.astype(dtype)))


@replaceable
def add_channels(y: Array, channels: Array) -> Array:
    """`y + channels` of `(..., C)` and `(C,)`, of one dtype."""
    return y + channels


@replaceable
def sum_channels(g: Array) -> Array:
    """The sum over all axes but the last: `(..., C)` to `(C,)`."""
    return channel_sum(g)


_add = custom_function(add_channels)


@_add.vjp
def _vjp(primals: Sequence[Array], g: Array, _: Array) -> tuple[Array, Array]:
    return g, sum_channels(g).astype(primals[1].dtype)


@_add.jvp
def _jvp(primals: Sequence[Array], tangents: Sequence[Array | None]) -> Array:
    dy, dbias = tangents
    if dbias is None:
        return cast(Array, dy)
    return cast(Array, _add(mx.zeros_like(primals[0]) if dy is None else dy, dbias))


def broadcast(channels: Array, x: Array) -> Array:
    """Broadcasts `(C,)` or a single number to the shape of `x`."""
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
