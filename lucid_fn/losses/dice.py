"""Dice loss, for segmentation."""

from lucid_fn.checks import check_number
from lucid_fn.losses.base import Reduction, area, as_pair, check_regions, reduce
from lucid_fn.types import Array


def dice(
    predictions: Array,
    targets: Array,
    *,
    smooth: float = 1.0,
    reduction: Reduction = "none",
) -> Array:
    """Soft Dice loss of each class: 1 minus the overlap of two regions.

    `1 - (2 * sum(p * z) + s) / (sum(p) + sum(z) + s)`, summed over all positions.

    Args:
        predictions: probabilities `p` in [0, 1], float, shape `(N, ..., num_classes)`;
            one class for a single mask.
        targets: 0 and 1 of any dtype, or probabilities `z`, of the same shape.
        smooth: `s`, positive: the loss of two empty regions is 0.
        reduction: `"none"`, `"mean"` or `"sum"`, over all examples and classes.

    Returns:
        Float array of shape `(N, num_classes)`, or `()` if reduced; in [0, 1] but for
        rounding, before the reduction.

    Raises:
        TypeError: if `predictions` is not of a float dtype.
        ValueError: if the shapes differ or have fewer than 2 axes, `smooth` is not
            positive, or `reduction` is none of the three.

    Source: Milletari et al., 2016, https://arxiv.org/abs/1606.04797, section 3, with
    the plain denominator of Sorensen and Dice instead of squares.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import losses
        >>> mask = mx.array([[1.0, 1.0, 0.0, 0.0]])[..., None]  # (1, 4, 1)
        >>> losses.dice(mask, mask[:, ::-1], smooth=1e-3)
        array([[0.99975]], dtype=float32)
    """
    smooth = check_number("dice", "smooth", smooth, above=0)
    p, z, dtype = as_pair("dice", "predictions", predictions, targets)
    check_regions("dice", p)
    overlap, whole = 2 * area(p * z), area(p) + area(z)  # (N, num_classes)
    return reduce("dice", 1 - (overlap + smooth) / (whole + smooth), reduction, dtype)
