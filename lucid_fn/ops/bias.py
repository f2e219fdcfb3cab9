"""Adding one number per channel to images."""

from typing import cast

import mlx.core as mx

from lucid_fn.cpu.memory.broadcast import add
from lucid_fn.ops.channel_sum import channel_sum
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.types import Array


def add_bias(y: Array, bias: Array) -> Array:
    """`y + bias` of `(..., W, C)` and `(C,)`; its gradient is summed in float32."""
    add_to = _add if y.dtype == mx.float32 else _add_half
    return cast(Array, add_to(y, bias.astype(y.dtype)))


def _add(y: Array, bias: Array) -> Array:
    # By image rows: loops over a few channels are slow, and the gradient's sum over
    # rows, then over columns, keeps its digits.
    columns, channels = y.shape[-2:]
    return add(y, mx.tile(bias, columns).reshape(columns, channels))


_add_half = custom_function(_add)


@_add_half.vjp
def _gradient(primals: tuple[Array, Array], g: Array, _: Array) -> tuple[Array, Array]:
    return g, channel_sum(g.astype(mx.float32)).astype(primals[1].dtype)
