"""Kullback-Leibler divergence."""

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import check_bool, check_float, check_same_shape
from lucid_fn.losses.base import Reduction, as_pair, reduce, weigh
from lucid_fn.types import Array


def kl_divergence(
    log_predictions: Array,
    targets: Array,
    *,
    log_targets: bool = False,
    reduction: Reduction = "none",
) -> Array:
    """Kullback-Leibler divergence of the prediction from the target, in nats.

    `sum_c z_c * (log(z_c) - log_p_c)` over the last axis. A class of probability 0 adds
    0, even if the prediction excludes it: `0 * log(0) = 0`.

    Args:
        log_predictions: log-probabilities `log_p`, float, shape `(..., num_classes)`.
        targets: probabilities `z` that sum to 1 over the last axis, float, of the same
            shape; or their logarithms.
        log_targets: whether the targets are log-probabilities, `log(z)`.
        reduction: `"none"`, `"sum"`, or `"mean"`, which is PyTorch's
            `reduction="batchmean"`: the sum over all, divided by the length of the
            first axis, which is the batch.

    Returns:
        Float array of shape `(...)`, or `()` if reduced; at least 0 but for rounding.

    Raises:
        TypeError: if an argument is not of a float dtype.
        ValueError: if the shapes differ or have no axis, or `reduction` is none of the
            three.

    Source: Kullback & Leibler, 1951, "On information and sufficiency";
    `torch.nn.functional.kl_div`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> log_predictions = mx.log(mx.array([[0.5, 0.5]]))
        >>> losses.kl_divergence(log_predictions, mx.array([[1.0, 0.0]]))
        array([0.693147], dtype=float32)
    """
    caller = "kl_divergence"
    check_bool(caller, log_targets=log_targets)
    check_float(caller, log_predictions=log_predictions, targets=targets)
    check_same_shape(caller, log_predictions=log_predictions, targets=targets)
    if targets.ndim == 0:
        raise ValueError(f"{caller}: targets must have shape (..., classes), got ()")
    log_p, z, dtype = as_pair(caller, "log_predictions", log_predictions, targets)
    if log_targets:
        log_z, z = z, mx.exp(z)
        entropy = weigh(z, log_z)
    else:
        entropy = z * mx.log(mx.where(z > 0, z, 1.0))
    losses = ops.sum(entropy - weigh(z, log_p), axis=-1)
    count = mx.array(targets.shape[0], losses.dtype)
    return reduce(caller, losses, reduction, dtype, count=count)
