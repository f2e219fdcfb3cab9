"""Adding a bias to each channel on CPUs, and its gradient, a sum for each channel."""

import mlx.core as mx

from lucid_fn.cpu.memory import broadcast
from lucid_fn.numerics import sum_rows
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
    row = columns * channels
    by_column = sum_rows(g.reshape(g.size // max(row, 1), row))
    if columns == 1:
        return by_column
    return sum_rows(by_column.reshape(columns, channels))


def _columns(y: Array) -> int:
    """Pixels of an image row to treat as one: loops over a few channels are slow."""
    narrow = y.ndim > 2 and y.shape[-1] < _FEW_CHANNELS
    return max(y.shape[-2], 1) if narrow else 1
