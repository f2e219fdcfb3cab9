"""Losses of one class out of several, from logits."""

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import (
    check_array,
    check_classes,
    check_float,
    check_rows,
    check_same_shape,
)
from lucid_fn.class_labels import among
from lucid_fn.losses.labels import at_label, widen
from lucid_fn.sums import total
from lucid_fn.types import Array


def softmax_cross_entropy(logits: Array, labels: Array) -> Array:
    """Minus the log-probability of the label under `softmax(logits)`, in nats.

    `logsumexp(logits) - logits[label]`. Its mean is PyTorch's `cross_entropy`.

    Args:
        logits: unnormalized log-probabilities, float, shape `(..., num_classes)`.
        labels: class indices in `[0, num_classes)`, integer, shape `(...)`. The range
            is not checked, since values are lazy; a label outside it gives NaN.

    Returns:
        Float array of shape `(...)`, at least 0.

    Raises:
        TypeError: if `logits` is not of a float or `labels` not of an integer dtype.
        ValueError: if `labels.shape != logits.shape[:-1]`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.softmax_cross_entropy(mx.array([[0.0, 0.0]]), mx.array([1]))
        array([0.693147], dtype=float32)
    """
    check_float("softmax_cross_entropy", logits=logits)
    check_rows("softmax_cross_entropy", "logits", logits, labels)
    inside = among(labels, logits.shape[-1])
    losses = ops.softmax_cross_entropy(logits, mx.where(inside, labels, 0))
    return mx.where(inside, losses, mx.nan)


def soft_target_cross_entropy(logits: Array, targets: Array) -> Array:
    """Cross-entropy between given probabilities and `softmax(logits)`, in nats.

    `-sum_c targets_c * log_softmax(logits)_c`. It is the loss for mixed or smoothed
    labels and for distillation; with a one-hot target it is `softmax_cross_entropy`.

    Args:
        logits: unnormalized log-probabilities, float, shape `(..., num_classes)`.
        targets: probabilities that sum to 1 over the last axis, float, of the shape of
            `logits`.

    Returns:
        Float array of shape `(...)`, at least 0.

    Raises:
        TypeError: if an argument is not of a float dtype.
        ValueError: if the shapes differ.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> logits, targets = mx.array([[0.0, 0.0]]), mx.array([[0.25, 0.75]])
        >>> losses.soft_target_cross_entropy(logits, targets)
        array([0.693147], dtype=float32)
    """
    check_float("soft_target_cross_entropy", logits=logits, targets=targets)
    check_same_shape("soft_target_cross_entropy", logits=logits, targets=targets)
    check_classes("soft_target_cross_entropy", logits=logits)
    return -mx.sum(targets * ops.log_softmax(logits), axis=-1)


def nll(log_probs: Array, labels: Array) -> Array:
    """Minus the log-probability of the label: `-log_probs[label]`, in nats.

    For weights and ignored labels use `cross_entropy`: the log-softmax in it leaves
    log-probabilities as they are.

    Args:
        log_probs: log-probabilities, float, shape `(..., num_classes)`.
        labels: class indices in `[0, num_classes)`, integer, shape `(...)`; one
            outside gives NaN.

    Returns:
        Float array of shape `(...)`, at least 0.

    Raises:
        TypeError: if `log_probs` is not of a float or `labels` not of an integer dtype.
        ValueError: if `labels.shape != log_probs.shape[:-1]`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.nll(mx.log(mx.array([[0.25, 0.75]])), mx.array([0]))
        array([1.38629], dtype=float32)
    """
    check_float("nll", log_probs=log_probs)
    check_rows("nll", "log_probs", log_probs, labels)
    return -at_label(log_probs, labels)


def cross_entropy(
    logits: Array,
    labels: Array,
    *,
    weight: Array | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
) -> Array:
    """PyTorch's `cross_entropy`: the mean over the labels that count, in nats.

    With integer labels, smoothing `e`, `K` classes and weights `w`, over all labels
    `y != ignore_index`:
    `sum((1 - e) * -w[y] * logp[y] + e / K * sum_c -w_c * logp_c) / sum(w[y])`.
    With probabilities `t`, made `t * (1 - e) + e / K` first:
    `sum(sum_c -w_c * t_c * logp_c) / N`, whatever the weights.

    Args:
        logits: unnormalized log-probabilities, float, shape `(..., num_classes)`: the
            classes are last. PyTorch has them at axis 1.
        labels: class indices, integer, shape `(...)`, in `[0, num_classes)` or equal
            to `ignore_index`; any other gives NaN. Or probabilities, float, of the
            shape of `logits`.
        weight: a factor for each class, float, shape `(num_classes,)`.
        label_smoothing: share of the label given to all classes alike, in [0, 1].
        ignore_index: the label that counts neither in the sum nor in the mean.

    Returns:
        Float array of shape `()`, computed in float32 at least. NaN, with a gradient of
        0, if no label counts.

    Raises:
        TypeError: if `labels` is neither of the two, or another dtype is wrong.
        ValueError: if a shape or `label_smoothing` is wrong, or if `ignore_index` is a
            class while the labels are probabilities.

    Source: `torch.nn.functional.cross_entropy`; smoothing: Szegedy et al., 2016,
    https://arxiv.org/abs/1512.00567, section 7.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> logits = mx.array([[2.0, 0.0], [0.0, 0.0], [5.0, 1.0]])
        >>> losses.cross_entropy(logits, mx.array([0, 1, -100]))
        array(0.410038, dtype=float32)
    """
    _check_cross_entropy(logits, labels, weight, label_smoothing)
    logits = widen(logits)
    if mx.issubdtype(labels.dtype, mx.floating):
        if ignore_index >= 0:
            raise ValueError(
                "cross_entropy: ignore_index must be negative when labels are "
                f"probabilities, got {ignore_index}; give ignored rows targets of 0"
            )
        smoothed = labels * (1 - label_smoothing) + label_smoothing / labels.shape[-1]
        return -total(smoothed * _weighted(logits, weight)) * (
            labels.shape[-1] / labels.size
        )
    labels = labels.astype(mx.int64)  # unsigned labels do not compare with -100
    counted = labels != ignore_index
    known = mx.where(counted, labels, 0)
    factors = counted.astype(logits.dtype)
    if weight is not None:  # a label outside the classes is NaN through its loss
        factors = factors * weight[mx.clip(known, 0, weight.size - 1)]
    if label_smoothing == 0:
        losses = factors * softmax_cross_entropy(logits, known)
    else:
        log_probs = _weighted(logits, weight)
        by_label, by_all = at_label(log_probs, known), mx.mean(log_probs, axis=-1)
        losses = -(1 - label_smoothing) * by_label - label_smoothing * by_all
    share = total(factors)
    mean = total(mx.where(counted, losses, 0.0)) / mx.where(share == 0, 1.0, share)
    return mx.where(share == 0, mx.nan, mean)  # with a gradient of 0, as in PyTorch


def _weighted(logits: Array, weight: Array | None) -> Array:
    log_probs = ops.log_softmax(logits)
    return log_probs if weight is None else weight * log_probs


def _check_cross_entropy(
    logits: Array, labels: Array, weight: Array | None, label_smoothing: float
) -> None:
    check_float("cross_entropy", logits=logits)
    check_array("cross_entropy", labels=labels)
    check_classes("cross_entropy", logits=logits)
    is_label = mx.issubdtype(labels.dtype, mx.integer)
    is_target = mx.issubdtype(labels.dtype, mx.floating)
    fits = labels.shape == (logits.shape[:-1] if is_label else logits.shape)
    if not fits or not (is_label or is_target):
        wrong_kind = not is_label and not (is_target and labels.ndim == logits.ndim)
        raise (TypeError if wrong_kind else ValueError)(
            f"cross_entropy: labels must be integers of shape {logits.shape[:-1]} or "
            f"probabilities of shape {logits.shape}, got {labels.dtype} {labels.shape}"
        )
    if weight is not None:
        check_float("cross_entropy", weight=weight)
        if weight.shape != logits.shape[-1:]:
            raise ValueError(
                f"cross_entropy: weight must have shape {logits.shape[-1:]}, one for "
                f"each class, got {weight.shape}"
            )
    if not 0 <= label_smoothing <= 1:
        raise ValueError(
            f"cross_entropy: label_smoothing must be in [0, 1], got {label_smoothing}"
        )
