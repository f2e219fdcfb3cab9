"""Confusion, precision, recall and F1: from counts, which add up over batches."""

from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_array, check_integer, check_same_shape
from lucid_fn.class_labels import among
from lucid_fn.types import Array


class Counts(NamedTuple):
    """Decisions of each class, int32, shape `(num_classes,)`; or of all, shape `()`.

    They count exactly up to 2**31 - 1, and those of several batches add up:
    `tree.map(mx.add, a, b)`.
    """

    true_positives: Array
    false_positives: Array
    false_negatives: Array


def confusion_matrix(predictions: Array, labels: Array, *, num_classes: int) -> Array:
    """How often each class was predicted as each class.

    Args:
        predictions: class indices, integer, any shape: `mx.argmax(logits, axis=-1)`.
        labels: class indices, integer, of the same shape. Where either is outside the
            classes, as an ignored label is, nothing is counted.
        num_classes: number of classes, at least 1.

    Returns:
        int32, shape `(num_classes, num_classes)`: rows are labels, columns predictions.
        Those of several batches add up.

    Raises:
        TypeError: if an array is not of an integer dtype.
        ValueError: if the shapes differ or `num_classes` is below 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> predictions, labels = mx.array([0, 1, 1, 1]), mx.array([0, 1, 0, -100])
        >>> metrics.confusion_matrix(predictions, labels, num_classes=2)
        array([[1, 1],
               [0, 1]], dtype=int32)
    """
    if num_classes < 1:
        raise ValueError(
            f"confusion_matrix: num_classes must be at least 1, got {num_classes}"
        )
    check_integer("confusion_matrix", predictions=predictions, labels=labels)
    check_same_shape("confusion_matrix", predictions=predictions, labels=labels)
    predictions, labels = predictions.reshape(-1), labels.reshape(-1)
    inside = among(predictions, num_classes) & among(labels, num_classes)
    cells = num_classes * num_classes
    cell = labels.astype(mx.int32) * num_classes + predictions.astype(mx.int32)
    cell = mx.where(inside, cell, cells)  # one more, for those that do not count
    counted = mx.zeros((cells + 1,), mx.int32).at[cell].add(1)
    return counted[:cells].reshape(num_classes, num_classes)


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
        raise ValueError(
            "class_counts: confusion must have shape (num_classes, num_classes), got "
            f"{confusion.shape}"
        )
    hits = mx.diagonal(confusion)
    return Counts(
        true_positives=hits,
        false_positives=mx.sum(confusion, axis=0) - hits,
        false_negatives=mx.sum(confusion, axis=1) - hits,
    )


def binary_counts(predictions: Array, labels: Array) -> Counts:
    """The counts of yes-or-no decisions, for each class of the last axis.

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
        return mx.sum(x.reshape(-1, x.shape[-1]).astype(mx.int32), axis=0)

    return Counts(
        true_positives=count(predictions & labels),
        false_positives=count(predictions & ~labels),
        false_negatives=count(~predictions & labels),
    )


def micro(counts: Counts) -> Counts:
    """The counts of all classes together: `precision(micro(counts))` is one number.

    The macro average is `mx.mean(precision(counts))`.

    Args:
        counts: of shape `(num_classes,)`.

    Returns:
        `Counts` of shape `()`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> counts = metrics.class_counts(mx.array([[3, 1], [0, 2]]))
        >>> pooled = metrics.micro(counts)
        >>> metrics.precision(pooled), metrics.recall(pooled)  # both the accuracy
        (array(0.833333, dtype=float32), array(0.833333, dtype=float32))
    """
    return Counts(*[mx.sum(x) for x in counts])


def precision(counts: Counts) -> Array:
    """The share of right ones among the positives: `tp / (tp + fp)`.

    Args:
        counts: of any shape.

    Returns:
        float32, of the shape of the counts, in [0, 1]; 0 where nothing was positive.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> metrics.precision(metrics.class_counts(mx.array([[3, 1], [0, 2]])))
        array([1, 0.666667], dtype=float32)
    """
    hits = counts.true_positives
    return _ratio(hits, hits + counts.false_positives)


def recall(counts: Counts) -> Array:
    """The share found of those that are: `tp / (tp + fn)`.

    Args:
        counts: of any shape.

    Returns:
        float32, of the shape of the counts, in [0, 1]; 0 where there was none.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> metrics.recall(metrics.class_counts(mx.array([[3, 1], [0, 2]])))
        array([0.75, 1], dtype=float32)
    """
    hits = counts.true_positives
    return _ratio(hits, hits + counts.false_negatives)


def f1(counts: Counts) -> Array:
    """The harmonic mean of precision and recall: `2 tp / (2 tp + fp + fn)`.

    Args:
        counts: of any shape.

    Returns:
        float32, of the shape of the counts, in [0, 1]; 0 where nothing was positive.

    Source: van Rijsbergen, 1979, "Information retrieval", chapter 7.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> metrics.f1(metrics.class_counts(mx.array([[3, 1], [0, 2]])))
        array([0.857143, 0.8], dtype=float32)
    """
    hits = counts.true_positives.astype(mx.float32)
    misses = counts.false_positives.astype(mx.float32) + counts.false_negatives
    return _ratio(2 * hits, 2 * hits + misses)


def _ratio(part: Array, whole: Array) -> Array:
    return part.astype(mx.float32) / mx.maximum(whole, 1).astype(mx.float32)
