"""Layer-wise norms and trust ratios, where each array counts as a layer."""

import math

import mlx.core as mx

from lucid_fn.numerics import total
from lucid_fn.optim.leaves import end_kernel
from lucid_fn.optim.moments import accumulator_dtype
from lucid_fn.types import Array


def norm(x: Array) -> Array:
    """The Euclidean norm, in float32 at least: shape `()`."""
    return mx.sqrt(total(mx.square(x.astype(accumulator_dtype(x)))))


def root_mean_square(x: Array) -> Array:
    """The root of the mean square, in float32 at least: shape `()`."""
    return norm(x) / math.sqrt(x.size)


def trust_ratio(p_norm: Array, u_norm: Array, divisor: Array) -> Array:
    """`p_norm / divisor`, or 1 where the norm of a param or of its update is 0."""
    known = mx.logical_and(p_norm > 0, u_norm > 0)  # `&` is wrong under `vmap`
    return end_kernel(mx.where(known, p_norm / mx.where(known, divisor, 1.0), 1.0))
