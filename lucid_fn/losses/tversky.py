"""Focal Tversky loss, for the segmentation of small regions."""

import mlx.core as mx

from lucid_fn.checks import check_number
from lucid_fn.losses.base import Reduction, area, as_pair, check_regions, reduce
from lucid_fn.types import Array


def focal_tversky(
    predictions: Array,
    targets: Array,
    *,
    alpha: float = 0.7,
    beta: float = 0.3,
    gamma: float = 4 / 3,
    smooth: float = 1.0,
    reduction: Reduction = "none",
) -> Array:
    """Focal Tversky loss of each class, `(1 - TI)^(1 / gamma)`.

    The Tversky index is `TI = (tp + s) / (tp + alpha * fn + beta * fp + s)` with
    `tp = sum(p * z)`, `fn = sum((1 - p) * z)` and `fp = sum(p * (1 - z))`,
    summed over all positions. With `alpha = beta = 1/2` and `gamma = 1` it is `dice` of
    `smooth = 2 * s`.

    Args:
        predictions: probabilities `p` in [0, 1], float, shape `(N, ..., num_classes)`;
            one class for a single mask.
        targets: 0 and 1 of any dtype, or probabilities `z`, of the same shape.
        alpha: weight of false negatives, at least 0.
        beta: weight of false positives, at least 0.
        gamma: at least 1; the larger, the more regions that are nearly right count.
        smooth: `s`, positive: the loss of two empty regions is 0.
        reduction: `"none"`, `"mean"` or `"sum"`, over all examples and classes.

    Returns:
        Float array of shape `(N, num_classes)`, or `()` if reduced; in [0, 1] but for
        rounding, before the reduction. Where the index is 1 the gradient is 0.

    Raises:
        TypeError: if `predictions` is not of a float dtype.
        ValueError: if the shapes differ or have fewer than 2 axes, a number is out of
            its range, or `reduction` is none of the three.

    Source: Abraham & Khan, 2018, https://arxiv.org/abs/1810.07842, equations 3 and 4.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> mask = mx.array([[1.0, 1.0, 0.0, 0.0]])[..., None]  # (1, 4, 1)
        >>> losses.focal_tversky(mask, mask)
        array([[0]], dtype=float32)
    """
    caller = "focal_tversky"
    alpha = check_number(caller, "alpha", alpha, at_least=0)
    beta = check_number(caller, "beta", beta, at_least=0)
    gamma = check_number(caller, "gamma", gamma, at_least=1)
    smooth = check_number(caller, "smooth", smooth, above=0)
    p, z, dtype = as_pair(caller, "predictions", predictions, targets)
    check_regions(caller, p)
    errors = alpha * area((1 - p) * z) + beta * area(p * (1 - z))  # (N, num_classes)
    miss = errors / (area(p * z) + errors + smooth)  # 1 - TI without cancellation
    is_zero = miss <= 0  # where powers below 1 have no derivative
    losses = mx.where(is_zero, 0.0, mx.where(is_zero, 1.0, miss) ** (1 / gamma))
    return reduce(caller, losses, reduction, dtype)
