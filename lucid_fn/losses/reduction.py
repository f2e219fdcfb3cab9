"""The reduction of a loss over a batch, as PyTorch's `reduction=` names it."""

from typing import Literal, TypeAlias

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.types import Array

Reduction: TypeAlias = Literal["none", "mean", "sum"]
"""What a loss returns: each value, their mean or their sum."""


def reduce(
    caller: str,
    values: Array,
    reduction: Reduction,
    dtype: mx.Dtype,
    *,
    count: Array | None = None,
) -> Array:
    """The values, their mean or their sum, in `dtype`.

    Args:
        caller: the loss, for the message.
        values: in float32 at least, so that no half precision overflows on the way.
        reduction: `"none"`, `"mean"` or `"sum"`.
        dtype: that of the result.
        count: what the mean divides by, such as a sum of weights, shape `()`; the
            number of values by default. The mean over 0 is NaN, with a gradient of 0,
            as in PyTorch.
    """
    if reduction == "none":
        reduced = values
    elif reduction == "sum":
        reduced = ops.sum(values)
    elif reduction != "mean":
        raise ValueError(
            f"{caller}: reduction must be 'none', 'mean' or 'sum', got {reduction!r}"
        )
    elif count is None:
        reduced = ops.mean(values)
    else:
        none = count == 0
        mean = ops.sum(values) / mx.where(none, 1, count)
        reduced = mx.where(none, mx.nan, mean)
    return reduced.astype(dtype)
