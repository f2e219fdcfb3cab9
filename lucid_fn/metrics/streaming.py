"""Metrics over many batches, with a state that compiled steps can take and return."""

from collections.abc import Callable
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_array
from lucid_fn.metrics.confusion import check_num_classes, confusion_matrix
from lucid_fn.numerics import total
from lucid_fn.types import Array


class Metric(NamedTuple):
    """`init() -> state`, `update(state, ...) -> state` and `result(state)`.

    All three are pure, and the state is a tree of arrays, so that a compiled function
    may take and return it.
    """

    init: Callable[[], Any]
    update: Callable[..., Any]
    result: Callable[[Any], Array]


class Sum(NamedTuple):
    """A float32 sum and its accumulated rounding error, with about 48 bits together.

    A plain float32 sum of ones stops at 2**24.
    """

    value: Array  # float32, shape ()
    lost: Array  # float32, shape ()


class MeanState(NamedTuple):
    """The weighted sum of the values so far, and the sum of the weights."""

    total: Sum
    weight: Sum


def streaming_mean() -> Metric:
    """The weighted mean of all values of all batches: `sum(w * v) / sum(w)`.

    `update(state, values, weights=1.0)` takes values of any shape, and weights of the
    same shape or `()`: the loss of each example, or the mean loss of a batch with the
    batch's size as its weight. A value of weight 0 is ignored, even if it is NaN.
    `result(state)` is float32, shape `()`; NaN before the first value, and infinite
    with an infinite value. The sums are compensated for rounding, so that they stay
    accurate for billions of values.

    Returns:
        The three functions; the state is a `MeanState`.

    Raises:
        TypeError: on update, if `values` is not an MLX array.
        ValueError: on update, if the weights have another shape.

    Source: Knuth, 1997, "The art of computer programming", volume 2, section 4.2.2,
    theorem B: the exact error of a sum.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> mean = metrics.streaming_mean()
        >>> state = mean.init()
        >>> state = mean.update(state, mx.array([1.0, 2.0, 3.0]))
        >>> state = mean.update(state, mx.array(8.0), 2)  # a mean over 2 examples
        >>> mean.result(state)
        array(4.4, dtype=float32)
    """

    def init() -> MeanState:
        zero = mx.array(0.0)
        return MeanState(Sum(zero, zero), Sum(zero, zero))

    def update(
        state: MeanState, values: Array, weights: Array | float = 1.0
    ) -> MeanState:
        check_array("streaming_mean", values=values)
        values, factors = values.astype(mx.float32), mx.array(weights, mx.float32)
        if factors.shape not in ((), values.shape):
            raise ValueError(
                "streaming_mean: weights must have shape () or that of values, "
                f"{values.shape}, got {factors.shape}"
            )
        factors = mx.broadcast_to(factors, values.shape)
        counted = mx.where(factors == 0, 0.0, values * factors)
        return MeanState(_add(state.total, counted), _add(state.weight, factors))

    def result(state: MeanState) -> Array:
        return _value(state.total) / _value(state.weight)

    return Metric(init, update, result)


def _add(sum_: Sum, values: Array) -> Sum:
    """The sum with `values` added, and the exact rounding error of that addition."""
    value = total(values)
    added = sum_.value + value
    back = added - sum_.value
    error = (sum_.value - (added - back)) + (value - back)
    error = mx.where(mx.isinf(added), 0.0, error)  # which would be inf - inf
    return Sum(added, sum_.lost + error)


def _value(sum_: Sum) -> Array:
    return sum_.value + sum_.lost


def streaming_confusion(num_classes: int) -> Metric:
    """The confusion matrix over all batches, from which `class_counts` starts.

    `update(state, predictions, labels)` is as `confusion_matrix`. The state is the
    matrix, and so is the result; its cells count exactly up to 2**31 - 1.

    Args:
        num_classes: number of classes, in [1, 46340].

    Raises:
        ValueError: if `num_classes` is out of range.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> matrix = metrics.streaming_confusion(2)
        >>> state = matrix.update(matrix.init(), mx.array([0, 1]), mx.array([0, 1]))
        >>> state = matrix.update(state, mx.array([1]), mx.array([0]))
        >>> metrics.recall(metrics.class_counts(matrix.result(state)))
        array([0.5, 1], dtype=float32)
    """
    num_classes = check_num_classes("streaming_confusion", num_classes)

    def init() -> Array:
        return mx.zeros((num_classes, num_classes), mx.int32)

    def update(state: Array, predictions: Array, labels: Array) -> Array:
        return state + confusion_matrix(predictions, labels, num_classes=num_classes)

    def result(state: Array) -> Array:
        return state

    return Metric(init, update, result)
