"""Confusion matrix, precision, recall and F1, from counts that add up over batches."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import (
    check_array,
    check_count,
    check_integer,
    check_same_shape,
    check_type,
    shape_error,
)
from lucid_fn.numerics import is_valid_label, reduced
from lucid_fn.types import Array


class Counts(NamedTuple):
    """True positives, false positives and false negatives, as integers.

    Counts per class are int32, shape `(num_classes,)`, and exact up to 2**31 - 1; those
    of all classes together, from `micro`, are int64, shape `()`. Add counts of several
    batches by `tree.map(mx.add, a, b)`.
    """

    true_positives: Array
    false_positives: Array
    false_negatives: Array


def confusion_matrix(predictions: Array, labels: Array, *, num_classes: int) -> Array:
    """Confusion matrix: how often each class was predicted as each class.

    Args:
        predictions: class indices, integer, any shape: `mx.argmax(logits, axis=-1)`.
        labels: class indices, integer, of the same shape. Pairs in which either is
            outside the classes, such as ignored labels, are not counted.
        num_classes: number of classes, in [1, 46340].

    Returns:
        int32, shape `(num_classes, num_classes)`: rows are labels, columns predictions.
        The matrices of several batches can be added.

    Raises:
        TypeError: if an array is not of an integer dtype.
        ValueError: if the shapes differ or `num_classes` is out of range.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> predictions, labels = mx.array([0, 1, 1, 1]), mx.array([0, 1, 0, -100])
        >>> metrics.confusion_matrix(predictions, labels, num_classes=2)
        array([[1, 1],
               [0, 1]], dtype=int32)
    """
    num_classes = check_num_classes("confusion_matrix", num_classes)
    check_array("confusion_matrix", predictions=predictions)
    if mx.issubdtype(predictions.dtype, mx.floating):
        raise TypeError(
            "confusion_matrix: predictions must be class indices, integers, got "
            f"{predictions.dtype} {predictions.shape}; of logits give "
            "mx.argmax(logits, axis=-1)"
        )
    check_integer("confusion_matrix", predictions=predictions, labels=labels)
    check_same_shape("confusion_matrix", predictions=predictions, labels=labels)
    predictions, labels = predictions.reshape(-1), labels.reshape(-1)
    inside = mx.logical_and(
        is_valid_label(predictions, num_classes), is_valid_label(labels, num_classes)
    )
    cells = num_classes * num_classes
    cell = labels.astype(mx.int32) * num_classes + predictions.astype(mx.int32)
    cell = mx.where(inside, cell, cells)  # an extra cell for pairs that do not count
    counted = mx.zeros((cells + 1,), mx.int32).at[cell].add(1)
    return counted[:cells].reshape(num_classes, num_classes)


def check_num_classes(caller: str, num_classes: int) -> int:
    """The number of classes; raise unless int32 can index the cells of its matrix."""
    num_classes = check_count(caller, "num_classes", num_classes)
    if num_classes > 46340:  # the root of 2**31
        raise ValueError(
            f"{caller}: num_classes must be at most 46340, got {num_classes}; a matrix "
            "of so many classes takes gigabytes: use accuracy, or binary_counts of "
            "groups of classes"
        )
    return num_classes


def class_counts(confusion: Array) -> Counts:
    """The counts of each class against all others, from a confusion matrix.

    Args:
        confusion: integer, shape `(num_classes, num_classes)`, rows are labels.

    Returns:
        `Counts` of shape `(num_classes,)`.

    Raises:
        TypeError: if `confusion` is not of an integer dtype.
        ValueError: if it is not square.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> metrics.class_counts(mx.array([[3, 1], [0, 2]])).false_positives
        array([0, 1], dtype=int32)
    """
    check_integer("class_counts", confusion=confusion)
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1]:
        raise shape_error(
            "class_counts", "confusion", confusion, "(num_classes, num_classes)"
        )
    hits = mx.diagonal(confusion)
    return Counts(
        true_positives=hits,
        false_positives=reduced(mx.sum, confusion, axis=0, empty=0) - hits,
        false_negatives=reduced(mx.sum, confusion, axis=1, empty=0) - hits,
    )


def binary_counts(predictions: Array, labels: Array) -> Counts:
    """The counts of binary decisions, for each class of the last axis.

    Args:
        predictions: bool, shape `(..., num_classes)`, such as `logits > 0`.
        labels: bool, of the same shape.

    Returns:
        `Counts` of shape `(num_classes,)`.

    Raises:
        TypeError: if an array is not of dtype bool.
        ValueError: if the shapes differ or have no axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> predictions = mx.array([[True], [True], [False]])
        >>> metrics.binary_counts(predictions, mx.array([[True], [False], [False]]))
        Counts(true_positives=array([1], dtype=int32),
               false_positives=array([1], dtype=int32),
               false_negatives=array([0], dtype=int32))
    """
    check_array("binary_counts", predictions=predictions, labels=labels)
    for name, x in (("predictions", predictions), ("labels", labels)):
        if x.dtype != mx.bool_:
            raise TypeError(
                f"binary_counts: {name} must be bool, got {x.dtype}; compare it with a "
                "threshold"
            )
    check_same_shape("binary_counts", predictions=predictions, labels=labels)
    if labels.ndim == 0:
        raise ValueError(
            "binary_counts: labels must have shape (..., num_classes), got ()"
        )

    def count(x: Array) -> Array:
        axes = tuple(range(x.ndim - 1))
        return reduced(mx.sum, x.astype(mx.int32), axis=axes, empty=0)

    return Counts(
        true_positives=count(mx.logical_and(predictions, labels)),
        false_positives=count(mx.logical_and(predictions, mx.logical_not(labels))),
        false_negatives=count(mx.logical_and(mx.logical_not(predictions), labels)),
    )


def micro(counts: Counts) -> Counts:
    """The counts of all classes together, for micro averages.

    `precision(micro(counts))` is the micro average, `ops.mean(precision(counts))` the
    macro average.

    Args:
        counts: of shape `(num_classes,)`.

    Returns:
        `Counts` of shape `()`, int64.

    Raises:
        TypeError: if `counts` are not `Counts`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> counts = metrics.class_counts(mx.array([[3, 1], [0, 2]]))
        >>> pooled = metrics.micro(counts)
        >>> metrics.precision(pooled), metrics.recall(pooled)  # both the accuracy
        (array(0.833333, dtype=float32), array(0.833333, dtype=float32))
    """
    _check_counts("micro", counts)
    return Counts(*[mx.sum(x.astype(mx.int64)) for x in counts])


def precision(counts: Counts) -> Array:
    """Precision, `tp / (tp + fp)`: the share of predicted positives that are right.

    Args:
        counts: of any shape.

    Returns:
        float32, of the shape of the counts, in [0, 1]; 0 where nothing was predicted
        to be positive.

    Raises:
        TypeError: if `counts` are not `Counts`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> metrics.precision(metrics.class_counts(mx.array([[3, 1], [0, 2]])))
        array([1, 0.666667], dtype=float32)
    """
    return _ratio("precision", counts, "false_positives")


def recall(counts: Counts) -> Array:
    """Recall, `tp / (tp + fn)`: the share of actual positives that are found.

    Args:
        counts: of any shape.

    Returns:
        float32, of the shape of the counts, in [0, 1]; 0 where nothing is positive.

    Raises:
        TypeError: if `counts` are not `Counts`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> metrics.recall(metrics.class_counts(mx.array([[3, 1], [0, 2]])))
        array([0.75, 1], dtype=float32)
    """
    return _ratio("recall", counts, "false_negatives")


def f1(counts: Counts) -> Array:
    """F1, `2 tp / (2 tp + fp + fn)`: the harmonic mean of precision and recall.

    Args:
        counts: of any shape.

    Returns:
        float32, of the shape of the counts, in [0, 1]; 0 where nothing is positive
        nor predicted to be.

    Raises:
        TypeError: if `counts` are not `Counts`.

    Source: van Rijsbergen, 1979, "Information retrieval", chapter 7.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> metrics.f1(metrics.class_counts(mx.array([[3, 1], [0, 2]])))
        array([0.857143, 0.8], dtype=float32)
    """
    return _ratio("f1", counts, "false_positives", "false_negatives", factor=2)


def _ratio(caller: str, counts: Counts, *misses: str, factor: int = 1) -> Array:
    """`factor * tp / (factor * tp + misses)`, in float32: int32 sums may overflow."""
    _check_counts(caller, counts)
    hits = factor * counts.true_positives.astype(mx.float32)
    whole = hits
    for miss in misses:
        whole = whole + getattr(counts, miss).astype(mx.float32)
    return hits / mx.maximum(whole, 1.0)


def _check_counts(caller: str, counts: Counts) -> None:
    fix = "metrics.class_counts makes them of a confusion matrix"
    check_type(caller, "counts", counts, Counts, "metrics.Counts", fix=fix)
