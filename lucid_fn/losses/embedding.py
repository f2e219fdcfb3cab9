"""Losses of vectors, compared by their angle or distance over the last axis."""

import mlx.core as mx

from lucid_fn.checks import check_array, check_float, check_same_shape
from lucid_fn.losses.pairs import by_sign, positive_part
from lucid_fn.types import Array

# PyTorch's; added to the squared lengths, so that a vector of zeros has a gradient.
_EPS = 1e-12


def cosine_embedding(
    first: Array, second: Array, targets: Array, *, margin: float = 0.0
) -> Array:
    """One minus the cosine of similar vectors, the cosine of dissimilar ones.

    `1 - cos` where the target is 1, `max(0, cos - margin)` where it is -1.

    Args:
        first: vectors, float, shape `(..., D)`.
        second: vectors to compare with, of the same shape.
        targets: 1 for similar and -1 for dissimilar, of any dtype, shape `(...)`.
        margin: cosine below which dissimilar vectors cost nothing, in [-1, 1].

    Returns:
        Float array of shape `(...)`, in [0, 2].

    Raises:
        TypeError: if a vector is not of a float dtype.
        ValueError: if the shapes do not fit or `margin` is out of range.

    Source: `torch.nn.functional.cosine_embedding_loss`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> first, second = mx.array([[1.0, 0.0]]), mx.array([[3.0, 4.0]])
        >>> losses.cosine_embedding(first, second, mx.array([1]))
        array([0.4], dtype=float32)
    """
    if not -1 <= margin <= 1:
        raise ValueError(f"cosine_embedding: margin must be in [-1, 1], got {margin}")
    _check_vectors("cosine_embedding", first=first, second=second)
    check_array("cosine_embedding", targets=targets)
    if targets.shape != first.shape[:-1]:
        raise ValueError(
            f"cosine_embedding: targets must have shape {first.shape[:-1]}, one for "
            f"each pair of vectors, got {targets.shape}"
        )
    product = mx.sum(first * second, axis=-1)
    # Two roots: that of the product has derivatives beyond float32 at zero vectors.
    cosine = product * _inverse_length(first) * _inverse_length(second)
    return by_sign(targets, 1 - cosine, positive_part(cosine - margin))


def triplet_margin(
    anchor: Array,
    positive: Array,
    negative: Array,
    *,
    margin: float = 1.0,
    eps: float = 1e-6,
    swap: bool = False,
) -> Array:
    """What the negative lacks to be further from the anchor than the positive is.

    `max(0, d(anchor, positive) - d(anchor, negative) + margin)` with the Euclidean
    distance `d(x, y) = |x - y + eps|`.

    Args:
        anchor: vectors, float, shape `(..., D)`.
        positive: vectors that belong to the anchors, of the same shape.
        negative: vectors that do not, of the same shape.
        margin: by how much the negative should be further, positive.
        eps: added to each difference, positive: equal vectors have a gradient.
        swap: whether the distance from the positive to the negative counts instead
            where it is the smaller one.

    Returns:
        Float array of shape `(...)`, at least 0.

    Raises:
        TypeError: if a vector is not of a float dtype.
        ValueError: if the shapes differ, or `margin` or `eps` is not positive.

    Source: Balntas et al., 2016, "Learning shallow convolutional feature descriptors
    with triplet losses"; `torch.nn.functional.triplet_margin_loss`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> anchor, near, far = mx.zeros((1, 2)), mx.ones((1, 2)), mx.full((1, 2), 1.5)
        >>> losses.triplet_margin(anchor, near, far)
        array([0.292893], dtype=float32)
    """
    for name, value in (("margin", margin), ("eps", eps)):
        if not value > 0:
            raise ValueError(f"triplet_margin: {name} must be positive, got {value}")
    _check_vectors(
        "triplet_margin", anchor=anchor, positive=positive, negative=negative
    )
    to_negative = _distance(anchor, negative, eps)
    if swap:
        to_negative = mx.minimum(to_negative, _distance(positive, negative, eps))
    return positive_part(_distance(anchor, positive, eps) - to_negative + margin)


def _check_vectors(caller: str, **vectors: Array) -> None:
    check_float(caller, **vectors)
    check_same_shape(caller, **vectors)
    (first, x), *_ = vectors.items()
    if x.ndim == 0:
        raise ValueError(f"{caller}: {first} must have shape (..., D), got ()")


def _inverse_length(x: Array) -> Array:
    return mx.rsqrt(mx.sum(mx.square(x), axis=-1) + _EPS)


def _distance(x: Array, y: Array, eps: float) -> Array:
    squared = mx.sum(mx.square(x - y + eps), axis=-1)
    # At 0 the root has no derivative; it is 0, as PyTorch's. NaN is not 0.
    apart = squared != 0
    return mx.where(apart, mx.sqrt(mx.where(apart, squared, 1.0)), 0.0)
