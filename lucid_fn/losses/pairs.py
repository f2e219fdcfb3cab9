"""What losses of predictions and targets have in common."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_array, check_float, check_same_shape
from lucid_fn.numerics import widen
from lucid_fn.types import Array


class Pair(NamedTuple):
    """Predictions and targets in float32 at least, and the dtype of the loss."""

    x: Array
    targets: Array
    dtype: mx.Dtype


def as_pair(caller: str, first: str, x: Array, targets: Array) -> Pair:
    """The pair, once the targets are known to fit the predictions `x`.

    Half precision is widened: what a loss adds and multiplies may overflow where the
    loss does not. The dtype of the loss is that of `x`, or what it and float targets
    promote to.
    """
    check_float(caller, **{first: x})
    check_array(caller, targets=targets)
    check_same_shape(caller, **{first: x, "targets": targets})
    if mx.issubdtype(targets.dtype, mx.complexfloating):
        raise TypeError(f"{caller}: targets must be real, got {targets.dtype}")
    wide = widen(x)
    if not mx.issubdtype(targets.dtype, mx.floating):
        return Pair(wide, targets.astype(wide.dtype), x.dtype)
    return Pair(wide, widen(targets), mx.result_type(x, targets))


def positive_part(x: Array) -> Array:
    """`max(x, 0)`, whose derivative at 0 is 1, as that of PyTorch's `clamp`."""
    return mx.where(x < 0, 0.0, x)


def by_sign(targets: Array, positive: Array, negative: Array) -> Array:
    """The one where the target is above 0 and the other elsewhere; NaN where it is."""
    chosen = mx.where(targets > 0, positive, negative)
    return mx.where(targets == targets, chosen, mx.nan)  # NaN differs from itself


def weigh(weight: Array, cost: Array) -> Array:
    """`weight * cost`, with `0 * inf = 0`: an infinite cost of no weight is none.

    PyTorch gives NaN there. NaN times 0 stays NaN.
    """
    impossible = mx.logical_and(weight == 0, mx.isinf(cost))
    return weight * mx.where(impossible, 0, cost)
