"""Adding one number per channel."""

from typing import cast

import mlx.core as mx

from lucid_fn.ops.channel_sum import channel_sum
from lucid_fn.types import Array


def add_bias(y: Array, bias: Array) -> Array:
    """`y + bias` along the last axis; the gradient of `bias` is summed in float32."""
    return cast(Array, _custom_add_bias(y, bias.astype(y.dtype)))


def _forward(y: Array, bias: Array) -> Array:
    if y.ndim < 2 or y.shape[-1] >= 16:
        return y + bias
    # Few channels: loops over whole rows are four times as fast as over channels.
    width, channels = y.shape[-2:]
    rows = y.reshape(*y.shape[:-2], width * channels) + mx.tile(bias, width)
    return rows.reshape(y.shape)


def _gradient(primals: tuple[Array, Array], g: Array, _: Array) -> tuple[Array, Array]:
    bias = primals[1]
    return g, channel_sum(g.astype(mx.float32)).astype(bias.dtype)


_custom_add_bias = mx.custom_function(_forward)
_custom_add_bias.vjp(_gradient)
