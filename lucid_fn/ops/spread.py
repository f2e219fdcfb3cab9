"""Arithmetic of an array with one number a row or a column, at full speed."""

from typing import cast

import mlx.core as mx

from lucid_fn.ops.custom import custom_function
from lucid_fn.types import Array


def add(x: Array, y: Array) -> Array:
    """`x + y`, with `y` broadcast to the shape of `x`."""
    return mx.contiguous(x + _spread(y, x))


def subtract(x: Array, y: Array) -> Array:
    """`x - y`, with `y` broadcast to the shape of `x`."""
    return mx.contiguous(x - _spread(y, x))


def multiply(x: Array, y: Array) -> Array:
    """`x * y`, with `y` broadcast to the shape of `x`."""
    return mx.contiguous(x * _spread(y, x))


def divide(x: Array, y: Array) -> Array:
    """`x / y`, with `y` broadcast to the shape of `x`."""
    return mx.contiguous(x / _spread(y, x))


def _spread(y: Array, x: Array) -> Array:
    # `mx.compile` would fuse the broadcast with the arithmetic into a kernel that g++
    # does not vectorize: 0.7 ns a number for x - y with a number a row, where MLX's
    # own kernel takes 0.13. A custom function is a border that it does not cross; the
    # `contiguous` above is one on the other side.
    return cast(Array, _held(mx.broadcast_to(y, x.shape)))


_held = custom_function(lambda x: x)


@_held.vjp
def _vjp(x: Array, g: Array, _: Array) -> Array:
    return g
