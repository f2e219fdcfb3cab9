"""How far predictions are from targets, in one number."""

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import check_float, check_rows, check_same_shape
from lucid_fn.class_labels import among
from lucid_fn.ops.channel_sum import channel_sum
from lucid_fn.sums import total
from lucid_fn.types import Array


def mse(predictions: Array, targets: Array) -> Array:
    """The mean squared error: the mean of `(prediction - target)^2`.

    Args:
        predictions: float, any shape.
        targets: float, of the same shape.

    Returns:
        float32, shape `()`, at least 0.

    Raises:
        TypeError: if an argument is not of a float dtype.
        ValueError: if the shapes differ.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> metrics.mse(mx.array([1.0, 5.0]), mx.array([3.0, 5.0]))
        array(2, dtype=float32)
    """
    return _mean(mx.square(_differences("mse", predictions, targets)))


def mae(predictions: Array, targets: Array) -> Array:
    """The mean absolute error: the mean of `|prediction - target|`.

    Args:
        predictions: float, any shape.
        targets: float, of the same shape.

    Returns:
        float32, shape `()`, at least 0.

    Raises:
        TypeError: if an argument is not of a float dtype.
        ValueError: if the shapes differ.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> metrics.mae(mx.array([1.0, 5.0]), mx.array([3.0, 5.0]))
        array(1, dtype=float32)
    """
    return _mean(mx.abs(_differences("mae", predictions, targets)))


def r2(predictions: Array, targets: Array) -> Array:
    """The share of the targets' variance that the predictions explain.

    `1 - sum((z - prediction)^2) / sum((z - mean(z))^2)` over the first axis; with more
    axes, the mean of that over all outputs. For constant targets it is 1 if they are
    met, else 0.

    Args:
        predictions: float, shape `(N, ...)`.
        targets: float `z`, of the same shape.

    Returns:
        float32, shape `()`, at most 1.

    Raises:
        TypeError: if an argument is not of a float dtype.
        ValueError: if the shapes differ, have no axis, or are empty.

    Source: Wright, 1921, "Correlation and causation".

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import metrics
        >>> metrics.r2(mx.array([1.0, 2.0, 4.0]), mx.array([1.0, 2.0, 3.0]))
        array(0.5, dtype=float32)
    """
    squares = mx.square(_differences("r2", predictions, targets))
    if targets.size == 0:
        raise ValueError(f"r2: targets must not be empty, got {targets.shape}")
    columns = (len(targets), -1)
    targets = targets.astype(mx.float32).reshape(columns)
    unexplained = channel_sum(squares.reshape(columns))
    deviations = targets - channel_sum(targets) / len(targets)
    variation = channel_sum(mx.square(deviations))
    constant = variation == 0  # not so for NaN, which goes through
    varied = 1 - unexplained / mx.where(constant, 1.0, variation)
    met = mx.where(unexplained > 0, 0.0, 1 + unexplained)
    return mx.mean(mx.where(constant, met, varied))


def perplexity(logits: Array, labels: Array) -> Array:
    """The exponential of the mean cross-entropy of `softmax(logits)`.

    Where labels are to be ignored: `mx.exp(losses.cross_entropy(logits, labels))`.

    Args:
        logits: unnormalized log-probabilities, float, shape `(..., num_classes)`.
        labels: class indices in `[0, num_classes)`, integer, shape `(...)`; one
            outside gives NaN.

    Returns:
        float32, shape `()`, at least 1; `num_classes` for equal logits. It is no mean:
        over several batches, take the exponential of their mean cross-entropy.

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
    inside = among(labels, logits.shape[-1])
    nats = ops.softmax_cross_entropy(
        logits.astype(mx.float32), mx.where(inside, labels, 0)
    )
    return mx.exp(_mean(mx.where(inside, nats, mx.nan)))


def _mean(x: Array) -> Array:
    """In blocks: a running sum of a million values loses three digits."""
    return total(x) / x.size


def _differences(caller: str, predictions: Array, targets: Array) -> Array:
    check_float(caller, predictions=predictions, targets=targets)
    check_same_shape(caller, predictions=predictions, targets=targets)
    return predictions.astype(mx.float32) - targets.astype(mx.float32)
