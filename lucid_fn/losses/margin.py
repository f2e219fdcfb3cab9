"""Losses that ask for a distance to the boundary: zero beyond a margin."""

import mlx.core as mx

from lucid_fn.checks import check_float, check_rows, check_same_shape
from lucid_fn.losses.labels import at_label
from lucid_fn.losses.pairs import by_sign, check_pair, positive_part
from lucid_fn.types import Array


def hinge(predictions: Array, targets: Array) -> Array:
    """How far a score is from the right side of the margin: `max(0, 1 - y * x)`.

    Args:
        predictions: scores `x`, float, any shape.
        targets: -1 or 1 `y`, of any dtype, of the same shape.

    Returns:
        Float array of the shape of `targets`, at least 0.

    Raises:
        TypeError: if `predictions` is not of a float dtype.
        ValueError: if the shapes differ.

    Source: Cortes & Vapnik, 1995, "Support-vector networks".

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.hinge(mx.array([2.0, 0.5, 0.5]), mx.array([1, 1, -1]))
        array([0, 0.5, 1.5], dtype=float32)
    """
    targets = check_pair("hinge", "predictions", predictions, targets)
    return positive_part(1 - targets * predictions)


def hinge_embedding(distances: Array, targets: Array, *, margin: float = 1.0) -> Array:
    """The distance of a similar pair, and what a dissimilar one lacks to the margin.

    `d` where the target is 1, `max(0, margin - d)` where it is -1.

    Args:
        distances: of pairs, `d`, float, any shape.
        targets: 1 for similar and -1 for dissimilar, of any dtype, of the same shape.
        margin: distance from which on a dissimilar pair costs nothing.

    Returns:
        Float array of the shape of `targets`; at least 0 for distances of at least 0.

    Raises:
        TypeError: if `distances` is not of a float dtype.
        ValueError: if the shapes differ.

    Source: `torch.nn.functional.hinge_embedding_loss`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.hinge_embedding(mx.array([0.25, 0.25]), mx.array([1, -1]))
        array([0.25, 0.75], dtype=float32)
    """
    targets = check_pair("hinge_embedding", "distances", distances, targets)
    return by_sign(targets, distances, positive_part(margin - distances))


def margin_ranking(
    first: Array, second: Array, targets: Array, *, margin: float = 0.0
) -> Array:
    """What the right one of two scores lacks to be ahead by the margin.

    `max(0, -y * (first - second) + margin)`.

    Args:
        first: scores, float, any shape.
        second: scores to compare with, float, of the same shape.
        targets: `y`, 1 where the first should be larger, -1 where the second should;
            of any dtype, of the same shape.
        margin: by how much.

    Returns:
        Float array of the shape of `targets`, at least 0.

    Raises:
        TypeError: if a score is not of a float dtype.
        ValueError: if the shapes differ.

    Source: `torch.nn.functional.margin_ranking_loss`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> first, second = mx.array([3.0, 3.0]), mx.array([1.0, 1.0])
        >>> losses.margin_ranking(first, second, mx.array([1, -1]))
        array([0, 2], dtype=float32)
    """
    check_float("margin_ranking", first=first, second=second)
    check_same_shape("margin_ranking", first=first, second=second)
    targets = check_pair("margin_ranking", "first", first, targets)
    return positive_part(margin - targets * (first - second))


def multi_margin(
    logits: Array, labels: Array, *, margin: float = 1.0, p: int = 1
) -> Array:
    """What the score of the label lacks to be ahead of every other by the margin.

    `sum_{c != y} max(0, margin - x_y + x_c)^p / num_classes`.

    Args:
        logits: scores `x`, float, shape `(..., num_classes)`.
        labels: class indices `y`, integer, shape `(...)`; one outside the classes gives
            NaN.
        margin: by how much.
        p: exponent, 1 or 2.

    Returns:
        Float array of shape `(...)`, at least 0.

    Raises:
        TypeError: if `logits` is not of a float or `labels` not of an integer dtype.
        ValueError: if `labels.shape != logits.shape[:-1]`, or `p` is neither 1 nor 2.

    Source: Weston & Watkins, 1999, "Support vector machines for multi-class pattern
    recognition"; `torch.nn.functional.multi_margin_loss`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> losses.multi_margin(mx.array([[1.0, 0.5, -2.0]]), mx.array([0]))
        array([0.166667], dtype=float32)
    """
    if p not in (1, 2):
        raise ValueError(f"multi_margin: p must be 1 or 2, got {p}")
    check_float("multi_margin", logits=logits)
    check_rows("multi_margin", "logits", logits, labels)
    own = at_label(logits, labels)[..., None]
    lacks = positive_part(margin - own + logits)
    # In this order: MLX's vmap of != loses an axis if only its right side is mapped.
    others = labels[..., None] != mx.arange(logits.shape[-1])
    counted = mx.where(others, lacks if p == 1 else mx.square(lacks), 0.0)
    return mx.sum(counted, axis=-1) / logits.shape[-1]
