"""Metric learning: losses of the angles or distances between embeddings."""

from functools import partial

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import (
    check_array,
    check_bool,
    check_float,
    check_number,
    check_same_shape,
)
from lucid_fn.losses.base import Reduction, by_sign, positive_part, reduce
from lucid_fn.numerics import widen
from lucid_fn.ops.vectors import check_order, pairwise_distance
from lucid_fn.types import Array

# Added to squared lengths as in PyTorch, so that a vector of zeros has a gradient.
_EPS = 1e-12


def cosine_embedding(
    first: Array,
    second: Array,
    targets: Array,
    *,
    margin: float = 0.0,
    reduction: Reduction = "none",
) -> Array:
    """Cosine embedding loss of the angle between two vectors.

    `1 - cos` where the target is 1, `max(0, cos - margin)` where it is -1.

    Args:
        first: vectors, float, shape `(..., D)`.
        second: vectors to compare with, of the same shape.
        targets: 1 for similar and -1 for dissimilar pairs, of any dtype, shape `(...)`;
            0 counts as -1.
        margin: cosine below which dissimilar vectors cost nothing, in [-1, 1].
        reduction: `"none"`, `"mean"` or `"sum"`, over all pairs.

    Returns:
        Float array of shape `(...)`, or `()` if reduced; in [0, 2] but for rounding,
        before the reduction. The cosine of a vector of zeros is 0.

    Raises:
        TypeError: if a vector is not of a float dtype.
        ValueError: if the shapes do not fit, `margin` is out of range, or `reduction`
            is none of the three.

    Source: `torch.nn.functional.cosine_embedding_loss`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> first, second = mx.array([[1.0, 0.0]]), mx.array([[3.0, 4.0]])
        >>> losses.cosine_embedding(first, second, mx.array([1]))
        array([0.4], dtype=float32)
    """
    margin = check_number("cosine_embedding", "margin", margin, at_least=-1, at_most=1)
    _check_vectors("cosine_embedding", first=first, second=second)
    check_array("cosine_embedding", targets=targets)
    if targets.shape != first.shape[:-1]:
        raise ValueError(
            f"cosine_embedding: targets must have shape {first.shape[:-1]}, one for "
            f"each pair of vectors, got {targets.shape}"
        )
    x, y = widen(first), widen(second)
    # Two roots: at zero vectors the derivative of the root of the product overflows.
    cosine = ops.sum(x * y, axis=-1) * _inverse_length(x) * _inverse_length(y)
    losses = by_sign(targets, 1 - cosine, positive_part(cosine - margin))
    dtype = mx.result_type(first, second)
    return reduce("cosine_embedding", losses, reduction, dtype)


def triplet_margin(
    anchor: Array,
    positive: Array,
    negative: Array,
    *,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: Reduction = "none",
) -> Array:
    """Triplet margin loss: a positive should be nearer to the anchor than a negative.

    `max(0, d(anchor, positive) - d(anchor, negative) + margin)`, where `d` is
    `ops.pairwise_distance`, the Euclidean distance by default.

    Args:
        anchor: vectors, float, shape `(..., D)`.
        positive: vectors that belong to the anchors, of the same shape.
        negative: vectors that do not, of the same shape.
        margin: difference of the distances from which on a triplet costs nothing;
            positive.
        p: order of the distance, positive; `math.inf` for the largest difference.
        eps: added to each difference, so that equal vectors have a gradient; positive.
        swap: whether to use the distance from the positive to the negative where it is
            smaller than that from the anchor.
        reduction: `"none"`, `"mean"` or `"sum"`, over all triplets.

    Returns:
        Float array of shape `(...)`, or `()` if reduced; at least 0.

    Raises:
        TypeError: if a vector is not of a float dtype.
        ValueError: if the shapes differ, `margin`, `p` or `eps` is not positive, or
            `reduction` is none of the three.

    Source: Balntas et al., 2016, "Learning shallow convolutional feature descriptors
    with triplet losses"; `torch.nn.functional.triplet_margin_loss`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> anchor, near, far = mx.zeros((1, 2)), mx.ones((1, 2)), mx.full((1, 2), 1.5)
        >>> losses.triplet_margin(anchor, near, far)
        array([0.292893], dtype=float32)
    """
    check_bool("triplet_margin", swap=swap)
    margin = check_number("triplet_margin", "margin", margin, above=0)
    eps = check_number("triplet_margin", "eps", eps, above=0)
    _check_vectors(
        "triplet_margin", anchor=anchor, positive=positive, negative=negative
    )
    p = check_order("triplet_margin", p)
    distance = partial(pairwise_distance, p=p, eps=eps)
    a, near, far = widen(anchor), widen(positive), widen(negative)
    to_negative = distance(a, far)
    if swap:
        to_negative = mx.minimum(to_negative, distance(near, far))
    losses = positive_part(distance(a, near) - to_negative + margin)
    dtype = mx.result_type(anchor, positive, negative)
    return reduce("triplet_margin", losses, reduction, dtype)


def _check_vectors(caller: str, **vectors: Array) -> None:
    check_float(caller, **vectors)
    check_same_shape(caller, **vectors)
    (first, x), *_ = vectors.items()
    if x.ndim == 0:
        raise ValueError(f"{caller}: {first} must have shape (..., D), got ()")


def _inverse_length(x: Array) -> Array:
    return mx.rsqrt(ops.sum(mx.square(x), axis=-1) + _EPS)
