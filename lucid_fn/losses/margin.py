"""Hinge and ranking losses: zero beyond a margin."""

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import (
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
    by_sign,
    positive_part,
    reduce,
)
from lucid_fn.numerics import widen
from lucid_fn.types import Array


def hinge(
    predictions: Array, targets: Array, *, reduction: Reduction = "none"
) -> Array:
    """Hinge loss, `max(0, 1 - y * x)`, of support-vector machines.

    Args:
        predictions: scores `x`, float, any shape.
        targets: `y`, -1 or 1, of any dtype, of the same shape.
        reduction: `"none"`, `"mean"` or `"sum"`, over all elements.

    Returns:
        Float array of the shape of `targets`, or `()` if reduced; at least 0.

    Raises:
        TypeError: if `predictions` is not of a float dtype.
        ValueError: if the shapes differ or `reduction` is none of the three.

    Source: Cortes & Vapnik, 1995, "Support-vector networks".

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.hinge(mx.array([2.0, 0.5, 0.5]), mx.array([1, 1, -1]))
        array([0, 0.5, 1.5], dtype=float32)
    """
    x, y, dtype = as_pair("hinge", "predictions", predictions, targets)
    return reduce("hinge", positive_part(1 - y * x), reduction, dtype)


def hinge_embedding(
    distances: Array,
    targets: Array,
    *,
    margin: float = 1.0,
    reduction: Reduction = "none",
) -> Array:
    """Hinge embedding loss of the distance between two inputs.

    `d` where the target is 1, `max(0, margin - d)` where it is -1.

    Args:
        distances: distances `d` of pairs, float, any shape.
        targets: 1 for similar and -1 for dissimilar pairs, of any dtype, of the same
            shape; 0 counts as -1.
        margin: distance beyond which a dissimilar pair costs nothing.
        reduction: `"none"`, `"mean"` or `"sum"`, over all elements.

    Returns:
        Float array of the shape of `targets`, or `()` if reduced; at least 0 for
        distances of at least 0.

    Raises:
        TypeError: if `distances` is not of a float dtype.
        ValueError: if the shapes differ or `reduction` is none of the three.

    Source: `torch.nn.functional.hinge_embedding_loss`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.hinge_embedding(mx.array([0.25, 0.25]), mx.array([1, -1]))
        array([0.25, 0.75], dtype=float32)
    """
    margin = check_number("hinge_embedding", "margin", margin)
    d, y, dtype = as_pair("hinge_embedding", "distances", distances, targets)
    losses = by_sign(y, d, positive_part(margin - d))
    return reduce("hinge_embedding", losses, reduction, dtype)


def margin_ranking(
    first: Array,
    second: Array,
    targets: Array,
    *,
    margin: float = 0.0,
    reduction: Reduction = "none",
) -> Array:
    """Margin ranking loss, `max(0, -y * (first - second) + margin)`.

    Args:
        first: scores, float, any shape.
        second: scores to compare with, float, of the same shape.
        targets: `y`, 1 where the first should be larger, -1 where the second should;
            of any dtype, of the same shape.
        margin: difference from which on a pair costs nothing.
        reduction: `"none"`, `"mean"` or `"sum"`, over all elements.

    Returns:
        Float array of the shape of `targets`, or `()` if reduced; at least 0.

    Raises:
        TypeError: if a score is not of a float dtype.
        ValueError: if the shapes differ or `reduction` is none of the three.

    Source: `torch.nn.functional.margin_ranking_loss`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> first, second = mx.array([3.0, 3.0]), mx.array([1.0, 1.0])
        >>> losses.margin_ranking(first, second, mx.array([1, -1]))
        array([0, 2], dtype=float32)
    """
    margin = check_number("margin_ranking", "margin", margin)
    check_float("margin_ranking", first=first, second=second)
    check_same_shape("margin_ranking", first=first, second=second)
    x, y, dtype = as_pair("margin_ranking", "first", first, targets)
    losses = positive_part(margin - y * (x - widen(second)))
    dtype = mx.result_type(dtype, second)
    return reduce("margin_ranking", losses, reduction, dtype)


def multi_margin(
    logits: Array,
    labels: Array,
    *,
    margin: float = 1.0,
    p: int = 1,
    reduction: Reduction = "none",
) -> Array:
    """Multi-class hinge loss: 0 where the label's score leads all others by a margin.

    `sum_{c != y} max(0, margin - x_y + x_c)^p / num_classes`.

    Args:
        logits: scores `x`, float, shape `(..., num_classes)`.
        labels: class indices `y`, integer, shape `(...)`; one outside the classes gives
            NaN.
        margin: lead over a class from which on that costs nothing.
        p: exponent, 1 or 2.
        reduction: `"none"`, `"mean"` or `"sum"`, over all labels.

    Returns:
        Float array of shape `(...)`, or `()` if reduced; at least 0. The derivative at
        the margin is 0, as PyTorch's.

    Raises:
        TypeError: if `logits` is not of a float or `labels` not of an integer dtype.
        ValueError: if `labels.shape != logits.shape[:-1]`, `p` is neither 1 nor 2, or
            `reduction` is none of the three.

    Source: Weston & Watkins, 1999, "Support vector machines for multi-class pattern
    recognition"; `torch.nn.functional.multi_margin_loss`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.multi_margin(mx.array([[1.0, 0.5, -2.0]]), mx.array([0]))
        array([0.166667], dtype=float32)
    """
    margin = check_number("multi_margin", "margin", margin)
    p = check_count("multi_margin", "p", p, kinds="1 or 2")
    if p > 2:
        raise ValueError(f"multi_margin: p must be 1 or 2, got {p}")
    check_float("multi_margin", logits=logits)
    check_rows("multi_margin", "logits", logits, labels)
    x = widen(logits)
    excess = margin - at_label(x, labels)[..., None] + x
    excess = mx.where(excess <= 0, 0.0, excess)
    # In this order: MLX's vmap of != loses an axis if only its right side is mapped.
    others = labels[..., None] != mx.arange(x.shape[-1])
    costs = mx.where(others, excess if p == 1 else mx.square(excess), 0.0)
    losses = ops.mean(costs, axis=-1)
    return reduce("multi_margin", losses, reduction, logits.dtype)
