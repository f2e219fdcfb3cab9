"""Helpers of losses: `reduction=`, checks of inputs, class labels, and regions."""

from typing import Any, Literal, NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import (
    check_array,
    check_choice,
    check_float,
    check_same_shape,
    shape_error,
)
from lucid_fn.numerics import is_valid_label, widen
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
        values: in float32 at least, so that their sum does not overflow.
        reduction: `"none"`, `"mean"` or `"sum"`.
        dtype: dtype of the result.
        count: divisor of the mean, such as a sum of weights, shape `()`; the number of
            values by default. If it is 0 the mean is NaN, with a gradient of 0, as in
            PyTorch.
    """
    check_choice(caller, "reduction", reduction, ("none", "mean", "sum"))
    if reduction == "none":
        reduced = values
    elif reduction == "sum":
        reduced = ops.sum(values)
    elif count is None:
        reduced = ops.mean(values)
    else:
        is_empty = count == 0
        mean = ops.sum(values) / mx.where(is_empty, 1, count)
        reduced = mx.where(is_empty, mx.nan, mean)
    return reduced.astype(dtype)


class Pair(NamedTuple):
    """Predictions and targets in float32 at least, and the dtype of the loss."""

    x: Array
    targets: Array
    dtype: mx.Dtype


def as_pair(caller: str, name: str, x: Array, targets: Array) -> Pair:
    """The predictions `x`, which errors call `name`, and targets that fit them.

    Half precision is widened, since intermediate results may overflow where the loss
    does not. The dtype of the loss is that of `x`, promoted with that of float targets.
    """
    check_float(caller, **{name: x})
    _check_targets(caller, name, x, targets)
    if mx.issubdtype(targets.dtype, mx.complexfloating):
        raise TypeError(f"{caller}: targets must be real, got {targets.dtype}")
    wide = widen(x)
    if not mx.issubdtype(targets.dtype, mx.floating):
        return Pair(wide, targets.astype(wide.dtype), x.dtype)
    return Pair(wide, widen(targets), mx.result_type(x, targets))


def _check_targets(caller: str, name: str, x: Array, targets: Any) -> None:
    """Raise unless the targets are an array of the shape of the predictions `x`."""
    if isinstance(targets, int | float):
        raise TypeError(
            f"{caller}: targets must be an MLX array, got {type(targets).__name__}; "
            f"for one target for all write mx.full({name}.shape, {targets!r})"
        )
    check_array(caller, targets=targets)
    labels = mx.issubdtype(targets.dtype, mx.integer) and x.ndim and x.shape[-1] > 1
    if labels and targets.shape == x.shape[:-1]:
        raise ValueError(
            f"{caller}: targets must have the shape of {name}, {x.shape}, got "
            f"{targets.shape}; convert class labels with "
            f"mx.eye({x.shape[-1]})[targets]"
        )
    check_same_shape(caller, **{name: x, "targets": targets})


def positive_part(x: Array) -> Array:
    """`max(x, 0)` with a derivative of 1 at 0, as PyTorch's `clamp`."""
    return mx.where(x < 0, 0.0, x)


def by_sign(targets: Array, positive: Array, negative: Array) -> Array:
    """`positive` where the target is above 0, else `negative`; a NaN target is NaN."""
    chosen = mx.where(targets > 0, positive, negative)
    return mx.where(targets == targets, chosen, mx.nan)  # NaN differs from itself


def weigh(weight: Array, cost: Array) -> Array:
    """`weight * cost` with `0 * inf = 0`, where PyTorch gives NaN; `0 * nan` is NaN."""
    ignored = mx.logical_and(weight == 0, mx.isinf(cost))
    return weight * mx.where(ignored, 0, cost)


# ---- class labels ----


def at_label(values: Array, labels: Array) -> Array:
    """`values[..., label]`: `(..., num_classes)` to `(...)`; NaN outside the classes.

    MLX itself counts negative labels from the end, and reads past the row where they
    are too large: the loss would be plausible, and wrong.
    """
    inside = is_valid_label(labels, values.shape[-1])
    index = mx.where(inside, labels, 0)[..., None]
    picked = mx.take_along_axis(values, index, axis=-1).squeeze(-1)
    return mx.where(inside, picked, mx.nan)


class Counted(NamedTuple):
    """Labels, of which some are ignored; all arrays have the shape `(...)`."""

    counts: Array  # bool: whether the label counts, that is, is not ignored
    labels: Array  # 0 for ignored labels
    weights: Array  # weights of the labels' classes, 0 for ignored labels


def counted(
    labels: Array, ignore_index: int, weight: Array | None, dtype: mx.Dtype
) -> Counted:
    """Which labels count, and their weights; the mean divides by the sum of these."""
    labels = labels.astype(mx.int64)  # unsigned labels do not compare with -100
    counts = labels != ignore_index
    labels = mx.where(counts, labels, 0)
    weights = counts.astype(dtype)
    if weight is not None:  # a label outside the classes is NaN through its loss
        weights = weights * weight[mx.clip(labels, 0, weight.size - 1)]
    return Counted(counts, labels, weights)


def check_weight(caller: str, weight: Array | None, num_classes: int) -> None:
    """Raise unless `weight` has a float for each class, or is `None`."""
    if weight is None:
        return
    check_float(caller, weight=weight)
    if weight.shape != (num_classes,):
        raise shape_error(
            caller, "weight", weight, f"({num_classes},), one for each class"
        )


# ---- regions: `(N, ..., num_classes)`, summed over positions ----


def check_regions(caller: str, predictions: Array) -> None:
    """Raise unless predictions have an axis of examples and one of classes."""
    if predictions.ndim < 2:
        raise shape_error(caller, "predictions", predictions, "(N, ..., num_classes)")


def area(x: Array) -> Array:
    """The sum over all positions: `(N, ..., C)` to `(N, C)`."""
    return ops.sum(x, axis=tuple(range(1, x.ndim - 1)))
