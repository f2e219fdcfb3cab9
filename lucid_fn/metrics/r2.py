"""Coefficient of determination."""

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import check_float, check_same_shape
from lucid_fn.types import Array


def r2(predictions: Array, targets: Array) -> Array:
    """Coefficient of determination, `1 - sum((z - x)^2) / sum((z - mean(z))^2)`.

    The share of the variance of the targets `z` that the predictions `x` explain, over
    the first axis; with more axes, the mean of that over all outputs. For constant
    targets it is 1 if they are met, else 0.

    Args:
        predictions: float, shape `(N, ...)`.
        targets: float, of the same shape.

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
    check_float("r2", predictions=predictions, targets=targets)
    check_same_shape("r2", predictions=predictions, targets=targets)
    if targets.ndim == 0:
        raise ValueError("r2: targets must have shape (N, ...), got ()")
    if targets.size == 0:
        raise ValueError(f"r2: targets must not be empty, got {targets.shape}")
    x, z = predictions.astype(mx.float32), targets.astype(mx.float32)
    unexplained = ops.sum(mx.square(x - z), axis=0)
    # From the first target, exactly 0 where all are equal: the rounding of their mean
    # would pass for a variance.
    z = z - z[:1]
    variation = ops.sum(mx.square(z - ops.mean(z, axis=0, keepdims=True)), axis=0)
    constant = variation == 0  # not so for NaN, which goes through
    varied = 1 - unexplained / mx.where(constant, 1.0, variation)
    met = mx.where(unexplained > 0, 0.0, 1 + unexplained)
    return ops.mean(mx.where(constant, met, varied))
