"""Cross-entropy of one class out of several, from logits."""

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import (
    check_array,
    check_classes,
    check_count,
    check_float,
    check_number,
    check_rows,
    check_same_shape,
)
from lucid_fn.losses.base import (
    Reduction,
    as_pair,
    at_label,
    check_weight,
    counted,
    reduce,
    weigh,
)
from lucid_fn.numerics import is_valid_label, widen
from lucid_fn.types import Array


def softmax_cross_entropy(
    logits: Array, labels: Array, *, reduction: Reduction = "none"
) -> Array:
    """Cross-entropy between a class label and `softmax(logits)`, in nats.

    `logsumexp(logits) - logits[label]`, the negative log-probability of the label. See
    `cross_entropy` for class weights, label smoothing and labels to ignore.

    Args:
        logits: unnormalized log-probabilities, float, shape `(..., num_classes)`.
        labels: class indices in `[0, num_classes)`, integer, shape `(...)`. The range
            is not checked, since values are lazy; a label outside it gives NaN.
        reduction: `"none"`, `"mean"` or `"sum"`, over all labels.

    Returns:
        Float array of shape `(...)`, or `()` if reduced; at least 0.

    Raises:
        TypeError: if `logits` is not of a float or `labels` not of an integer dtype.
        ValueError: if `labels.shape != logits.shape[:-1]` or `reduction` is none of the
            three.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.softmax_cross_entropy(mx.array([[0.0, 0.0]]), mx.array([1]))
        array([0.693147], dtype=float32)
    """
    caller = "softmax_cross_entropy"
    check_float(caller, logits=logits)
    check_rows(caller, "logits", logits, labels)
    losses = _label_cross_entropy(widen(logits), labels)
    return reduce(caller, losses, reduction, logits.dtype)


def _label_cross_entropy(logits: Array, labels: Array) -> Array:
    """The cross-entropy of each label; NaN for one outside the classes."""
    inside = is_valid_label(labels, logits.shape[-1])
    losses = ops.softmax_cross_entropy(logits, mx.where(inside, labels, 0))
    return mx.where(inside, losses, mx.nan)


def soft_target_cross_entropy(
    logits: Array, targets: Array, *, reduction: Reduction = "none"
) -> Array:
    """Cross-entropy between a target distribution and `softmax(logits)`, in nats.

    `-sum_c targets_c * log_softmax(logits)_c`, for mixed or smoothed labels and for
    distillation; with a one-hot target it is `softmax_cross_entropy`. A class of
    probability 0 adds 0, even if its logit is minus infinity.

    Args:
        logits: unnormalized log-probabilities, float, shape `(..., num_classes)`.
        targets: probabilities that sum to 1 over the last axis, float, of the shape of
            `logits`.
        reduction: `"none"`, `"mean"` or `"sum"`, over all rows.

    Returns:
        Float array of shape `(...)`, or `()` if reduced; at least 0.

    Raises:
        TypeError: if an argument is not of a float dtype.
        ValueError: if the shapes differ or `reduction` is none of the three.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> logits, targets = mx.array([[0.0, 0.0]]), mx.array([[0.25, 0.75]])
        >>> losses.soft_target_cross_entropy(logits, targets)
        array([0.693147], dtype=float32)
    """
    caller = "soft_target_cross_entropy"
    check_float(caller, logits=logits, targets=targets)
    check_same_shape(caller, logits=logits, targets=targets)
    check_classes(caller, logits=logits)
    x, z, dtype = as_pair(caller, "logits", logits, targets)
    losses = ops.sum(weigh(z, -ops.log_softmax(x)), axis=-1)
    return reduce(caller, losses, reduction, dtype)


def cross_entropy(
    logits: Array,
    labels: Array,
    *,
    weight: Array | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int = -100,
    reduction: Reduction = "mean",
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
        weight: a factor for each class, float, shape `(num_classes,)`. A class of
            weight 0 costs 0, even if its logit is minus infinity.
        label_smoothing: probability that is spread evenly over all classes, in [0, 1].
        ignore_index: the label that counts neither in the sum nor in the mean.
        reduction: `"mean"`, `"sum"`, or `"none"` for the terms of the sum, which are 0
            for ignored labels.

    Returns:
        Float array of shape `()`, or `(...)` if not reduced, computed in float32 at
        least. The mean is NaN, with a gradient of 0, if no label counts.

    Raises:
        TypeError: if `labels` is neither of the two, or another dtype is wrong.
        ValueError: if a shape or `label_smoothing` is wrong, if `ignore_index` is a
            class while the labels are probabilities, or if `reduction` is none of the
            three.

    Source: `torch.nn.functional.cross_entropy`; smoothing: Szegedy et al., 2016,
    https://arxiv.org/abs/1512.00567, section 7.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> logits = mx.array([[2.0, 0.0], [0.0, 0.0], [5.0, 1.0]])
        >>> losses.cross_entropy(logits, mx.array([0, 1, -100]))
        array(0.410038, dtype=float32)
    """
    _check_cross_entropy(logits, labels, weight)
    label_smoothing = check_number(
        "cross_entropy", "label_smoothing", label_smoothing, at_least=0, at_most=1
    )
    ignore_index = check_count(
        "cross_entropy", "ignore_index", ignore_index, at_least=-(2**31)
    )
    logits = widen(logits)
    if mx.issubdtype(labels.dtype, mx.floating):
        if ignore_index >= 0:
            raise ValueError(
                "cross_entropy: ignore_index must be negative when labels are "
                f"probabilities, got {ignore_index}; give ignored rows targets of 0"
            )
        share = label_smoothing / labels.shape[-1]
        smoothed = widen(labels) * (1 - label_smoothing) + share
        losses = -ops.sum(weigh(smoothed, _weighted(logits, weight)), axis=-1)
        return reduce("cross_entropy", losses, reduction, losses.dtype)
    counts, labels, weights = counted(labels, ignore_index, weight, logits.dtype)
    if label_smoothing > 0:
        log_probs = _weighted(logits, weight)
        by_label, by_all = at_label(log_probs, labels), ops.mean(log_probs, axis=-1)
        hard = mx.array(1 - label_smoothing, by_label.dtype)
        losses = -weigh(hard, by_label) - label_smoothing * by_all
    else:
        losses = _label_cross_entropy(logits, labels)
        if weight is not None:
            losses = weigh(weights, losses)
    losses = mx.where(counts, losses, 0.0)
    return reduce(
        "cross_entropy", losses, reduction, losses.dtype, count=ops.sum(weights)
    )


def _weighted(logits: Array, weight: Array | None) -> Array:
    log_probs = ops.log_softmax(logits)
    return log_probs if weight is None else weigh(weight, log_probs)


def _check_cross_entropy(logits: Array, labels: Array, weight: Array | None) -> None:
    check_float("cross_entropy", logits=logits)
    check_array("cross_entropy", labels=labels)
    check_classes("cross_entropy", logits=logits)
    is_label = mx.issubdtype(labels.dtype, mx.integer)
    is_target = mx.issubdtype(labels.dtype, mx.floating)
    fits = labels.shape == (logits.shape[:-1] if is_label else logits.shape)
    if not fits or not (is_label or is_target):
        wrong_type = not is_label and not (is_target and labels.ndim == logits.ndim)
        raise (TypeError if wrong_type else ValueError)(
            f"cross_entropy: labels must be integers of shape {logits.shape[:-1]} or "
            f"probabilities of shape {logits.shape}, got {labels.dtype} {labels.shape}"
        )
    check_weight("cross_entropy", weight, logits.shape[-1])
