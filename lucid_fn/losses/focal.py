"""Focal loss: binary cross-entropy for imbalanced classes."""

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import check_number
from lucid_fn.losses.base import Reduction, as_pair, reduce, weigh
from lucid_fn.losses.binary_cross_entropy import logistic_loss
from lucid_fn.types import Array


def focal(
    logits: Array,
    targets: Array,
    *,
    alpha: float | None = 0.25,
    gamma: float = 2.0,
    reduction: Reduction = "none",
) -> Array:
    """Focal loss, `-a_t * (1 - p_t)^gamma * log(p_t)`: it down-weights easy examples.

    With `p = sigmoid(logit)`, `p_t` is `p` for a target of 1 and `1 - p` for one of 0;
    likewise, `a_t` is `alpha` or `1 - alpha`.

    Args:
        logits: unnormalized log-odds, float, any shape.
        targets: 0 and 1 of any dtype, of the same shape.
        alpha: weight of the positives, in [0, 1]; `None` for no weights.
        gamma: exponent of the weight, at least 0; with `gamma=0` and `alpha=None` it is
            `sigmoid_binary_cross_entropy`.
        reduction: `"none"`, `"mean"` or `"sum"`, over all elements.

    Returns:
        Float array of the shape of `targets`, or `()` if reduced; at least 0.

    Raises:
        TypeError: if `logits` is not of a float dtype.
        ValueError: if the shapes differ, `alpha` or `gamma` is out of range, or
            `reduction` is none of the three.

    Source: Lin et al., 2017, https://arxiv.org/abs/1708.02002, eq. 5.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.focal(mx.array([0.0, 0.0]), mx.array([1, 0]), gamma=1.0)
        array([0.0866434, 0.25993], dtype=float32)
    """
    if alpha is not None:
        alpha = check_number("focal", "alpha", alpha, at_least=0, at_most=1)
    gamma = check_number("focal", "gamma", gamma, at_least=0)
    x, z, dtype = as_pair("focal", "logits", logits, targets)
    weight = mx.array(1.0)
    if gamma > 0:
        # 1 - p_t without cancellation; powers below 1 have no derivative at 0.
        miss = z * ops.sigmoid(-x) + (1 - z) * ops.sigmoid(x)
        weight = mx.maximum(miss, 1e-12) ** gamma
    if alpha is not None:
        weight = weight * (alpha * z + (1 - alpha) * (1 - z))
    losses = weigh(weight, logistic_loss(x, 1 - z, z))
    return reduce("focal", losses, reduction, dtype)
