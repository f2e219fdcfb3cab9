"""Adding one number for each channel on CPUs."""

import mlx.core as mx

from lucid_fn.cpu.memory import broadcast
from lucid_fn.numerics import sum_to
from lucid_fn.types import Array

_FEW_CHANNELS = 64


def add(y: Array, channels: Array) -> Array:
    """`ops.bias.add_channels`."""
    columns = _columns(y)
    if columns > 1:
        channels = mx.tile(channels, columns).reshape(columns, channels.size)
    return broadcast.add(y, channels)


def total(g: Array) -> Array:
    """`ops.bias.sum_channels`."""
    channels, columns = g.shape[-1], _columns(g)
    rows = g.flatten(-2) if columns > 1 else g
    by_column = sum_to(rows, (columns * channels,)).reshape(columns, channels)
    return sum_to(by_column, (channels,))


def _columns(y: Array) -> int:
    """Of an image row that is taken as one: loops over a few channels are slow."""
    narrow = y.ndim > 2 and y.shape[-1] < _FEW_CHANNELS
    return max(y.shape[-2], 1) if narrow else 1
