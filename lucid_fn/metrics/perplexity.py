"""Perplexity of a language model."""

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import check_float, check_rows
from lucid_fn.numerics import is_valid_label
from lucid_fn.types import Array


def perplexity(logits: Array, labels: Array) -> Array:
    """Perplexity, the exponential of the mean cross-entropy of `softmax(logits)`.

    Where labels are to be ignored: `mx.exp(losses.cross_entropy(logits, labels))`.

    Args:
        logits: unnormalized log-probabilities, float, shape `(..., num_classes)`.
        labels: class indices in `[0, num_classes)`, integer, shape `(...)`; one
            outside gives NaN.

    Returns:
        float32, shape `()`, at least 1; `num_classes` for equal logits, NaN of none.
        Perplexities of several batches do not average: take the exponential of their
        mean cross-entropy.

    Raises:
        TypeError: if `logits` is not of a float or `labels` not of an integer dtype.
        ValueError: if `labels.shape != logits.shape[:-1]`.

    Source: Jelinek et al., 1977, "Perplexity: a measure of the difficulty of speech
    recognition tasks".

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> metrics.perplexity(mx.zeros((5, 8)), mx.array([0, 3, 7, 1, 1]))
        array(8, dtype=float32)
    """
    check_float("perplexity", logits=logits)
    check_rows("perplexity", "logits", logits, labels)
    inside = is_valid_label(labels, logits.shape[-1])
    nats = ops.softmax_cross_entropy(
        logits.astype(mx.float32), mx.where(inside, labels, 0)
    )
    return mx.exp(ops.mean(mx.where(inside, nats, mx.nan)))
