"""Activations: plain functions on arrays, which every combinator takes as a child."""

import mlx.core as mx

from lucid_fn.ops import tanh
from lucid_fn.types import Array


def relu(x: Array) -> Array:
    """`max(x, 0)`."""
    return mx.maximum(x, 0)


__all__ = ["relu", "tanh"]
