"""Norms of single arrays."""

import math

import mlx.core as mx

from lucid_fn.numerics import total
from lucid_fn.optim.moments import accumulator_dtype
from lucid_fn.types import Array


def norm(x: Array) -> Array:
    """The Euclidean norm, in float32 at least: shape `()`."""
    return mx.sqrt(total(mx.square(x.astype(accumulator_dtype(x)))))


def root_mean_square(x: Array) -> Array:
    """The norm per number, in float32 at least: shape `()`."""
    return norm(x) / math.sqrt(x.size)
