"""Sums over whole arrays that stay accurate for millions of numbers.

`mx.sum` adds one number after another on the CPU: of 2.4 M squares, the size of one
weight of ResNet-18, its float32 result is 2e-3 wrong. In blocks it is 1e-7.
"""

import math

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.optim.moments import accumulator_dtype
from lucid_fn.types import Array, Tree

_BLOCK = 128


def total(x: Array) -> Array:
    """The sum of all numbers: shape `()`."""
    x = x.reshape(-1)
    while x.size > _BLOCK:
        rows = x.size // _BLOCK
        blocks = x[: rows * _BLOCK].reshape(rows, _BLOCK)
        x = mx.concatenate([mx.sum(blocks, axis=-1), x[rows * _BLOCK :]])
    return mx.sum(x)


def norm(x: Array) -> Array:
    """The Euclidean norm, in float32 at least: shape `()`."""
    return mx.sqrt(total(mx.square(x.astype(accumulator_dtype(x)))))


def root_mean_square(x: Array) -> Array:
    """The norm per number, in float32 at least: shape `()`."""
    return norm(x) / math.sqrt(x.size)


def global_norm(values: Tree) -> Array:
    """The norm of all leaves taken as one vector: float32, shape `()`."""
    squares = [mx.square(norm(x)) for x in tree.leaves(values)]
    return mx.sqrt(sum(squares, mx.array(0.0)))
