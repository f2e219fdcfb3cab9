"""What losses of class labels have in common."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_float
from lucid_fn.numerics import is_valid_label
from lucid_fn.types import Array


def at_label(values: Array, labels: Array) -> Array:
    """`values[..., labels]` `(...)` of `(..., num_classes)`; NaN outside the classes.

    MLX itself would count a negative label from the end, and read whatever lies past
    the row for one too large: a loss that looks right and is not.
    """
    inside = is_valid_label(labels, values.shape[-1])
    index = mx.where(inside, labels, 0)[..., None]
    picked = mx.take_along_axis(values, index, axis=-1).squeeze(-1)
    return mx.where(inside, picked, mx.nan)


class Counted(NamedTuple):
    """Labels of which some do not count: all of shape `(...)`."""

    counts: Array  # bool: whether the label is not the one to ignore
    labels: Array  # 0 where it is
    weights: Array  # of the label's class, 0 where it does not count


def counted(
    labels: Array, ignore_index: int, weight: Array | None, dtype: mx.Dtype
) -> Counted:
    """Which labels count, and how much: the mean divides by the sum of the weights."""
    labels = labels.astype(mx.int64)  # unsigned labels do not compare with -100
    counts = labels != ignore_index
    labels = mx.where(counts, labels, 0)
    weights = counts.astype(dtype)
    if weight is not None:  # a label outside the classes is NaN through its loss
        weights = weights * weight[mx.clip(labels, 0, weight.size - 1)]
    return Counted(counts, labels, weights)


def check_weight(caller: str, weight: Array | None, num_classes: int) -> None:
    """Raises unless there is a float for each class, or nothing."""
    if weight is None:
        return
    check_float(caller, weight=weight)
    if weight.shape != (num_classes,):
        raise ValueError(
            f"{caller}: weight must have shape ({num_classes},), one for each class, "
            f"got {weight.shape}"
        )
