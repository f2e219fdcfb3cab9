"""Accuracy and top-k accuracy."""

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import check_count, check_rows
from lucid_fn.numerics import is_valid_label
from lucid_fn.types import Array


def accuracy(logits: Array, labels: Array) -> Array:
    """Accuracy: the share of labels that have the largest logit.

    Among equal logits the first counts. A label outside the classes is never correct,
    nor is any label where the largest logit is NaN.

    Args:
        logits: scores, shape `(..., num_classes)`.
        labels: class indices, integer, shape `(...)`.

    Returns:
        float32, shape `()`, in [0, 1]; NaN if there are no labels. For the accuracy
        over several batches, weight each by its size: see `streaming_mean`.

    Raises:
        TypeError: if `labels` is not of an integer dtype.
        ValueError: if `labels.shape != logits.shape[:-1]`, or if there is only one
            class.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> logits = mx.array([[2.0, 0.0], [0.0, 1.0], [3.0, 1.0], [1.0, 0.0]])
        >>> metrics.accuracy(logits, mx.array([0, 1, 1, 0]))
        array(0.75, dtype=float32)
    """
    check_rows("accuracy", "logits", logits, labels)
    if logits.shape[-1] == 1:
        raise ValueError(
            "accuracy: logits must have a score for each of several classes, got "
            f"{logits.shape}; for one score of a yes use metrics.binary_counts"
        )
    if labels.size == 0:  # MLX has no argmax of nothing
        return mx.array(mx.nan)
    guess = mx.argmax(logits, axis=-1)
    largest = mx.take_along_axis(logits, guess[..., None], axis=-1).squeeze(-1)
    hits = mx.logical_and(guess == labels, largest == largest)  # NaN is not NaN
    return ops.mean(hits)


def top_k_accuracy(logits: Array, labels: Array, *, k: int) -> Array:
    """Top-k accuracy: the share of labels that are among the `k` largest logits.

    Among equal logits the first counts, so that `k=1` is `accuracy`. A label outside
    the classes is never correct, nor is one whose logit is NaN.

    Args:
        logits: scores, shape `(..., num_classes)`.
        labels: class indices, integer, shape `(...)`.
        k: number of guesses, in [1, num_classes].

    Returns:
        float32, shape `()`, in [0, 1]; NaN if there are no labels.

    Raises:
        TypeError: if `labels` is not of an integer dtype.
        ValueError: if `labels.shape != logits.shape[:-1]`, or if `k` is out of range.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> logits = mx.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])
        >>> metrics.top_k_accuracy(logits, mx.array([1, 2]), k=2)
        array(0.5, dtype=float32)
    """
    check_rows("top_k_accuracy", "logits", logits, labels)
    num_classes = logits.shape[-1]
    k = check_count("top_k_accuracy", "k", k, at_least=None)
    if not 1 <= k <= num_classes:
        raise ValueError(
            f"top_k_accuracy: k must be in [1, {num_classes}], the number of classes, "
            f"got {k}"
        )
    classes = mx.arange(num_classes)
    inside = is_valid_label(labels, num_classes)[..., None]
    labels = mx.where(inside, labels[..., None], 0).astype(mx.int32)  # (..., 1)
    own = mx.take_along_axis(logits, labels, axis=-1)
    # "not at most" instead of "greater": a NaN ranks behind everything.
    tied = mx.logical_and(logits == own, classes < labels)
    ahead = mx.logical_or(mx.logical_not(logits <= own), tied)
    hits = mx.logical_and(inside, mx.sum(ahead, axis=-1, keepdims=True) < k)
    return ops.mean(hits)
