"""Group normalization: each example by itself, over groups of channels."""

import math

import mlx.core as mx

from lucid_fn.checks import check_count, check_float, check_number
from lucid_fn.numerics import promoted, sum_rows, widen
from lucid_fn.ops.bias import broadcast
from lucid_fn.ops.reductions import mean
from lucid_fn.ops.seam import replaceable
from lucid_fn.types import Array


def group_norm(
    x: Array, weight: Array, bias: Array, *, groups: int, eps: float
) -> Array:
    """Normalizes groups of neighbouring channels of each example, then scales them.

    `y = (x - mean) / sqrt(var + eps) * weight + bias`, where `mean` and `var` (biased:
    divided by the number of values) are taken over all positions and the channels of
    one group, for each example. With one channel in each group it is instance norm.

    Args:
        x: float, shape `(N, ..., C)`; half precision is computed in float32.
        weight: float, shape `(C,)`.
        bias: float, shape `(C,)`.
        groups: number of groups, of `C / groups` channels each; a positive divisor of
            `C`.
        eps: added to the variance; positive.

    Returns:
        Float array of the shape of `x`, of the dtype that `x`, `weight` and `bias`
        promote to.

    Raises:
        TypeError: if an argument is not an MLX array of a float dtype.
        ValueError: if `weight` or `bias` does not have the shape `(C,)`, if `groups` is
            not a positive divisor of `C`, or `x` has no values.

    Source: Wu & He, 2018, https://arxiv.org/abs/1803.08494, eq. 7.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.array([[1.0, 3.0, 10.0, 10.0]])
        >>> y = ops.group_norm(x, mx.ones((4,)), mx.zeros((4,)), groups=2, eps=1e-5)
        >>> mx.round(y, 2)
        array([[-1, 1, 0, 0]], dtype=float32)
    """
    groups = check_count("group_norm", "groups", groups)
    eps = check_number("group_norm", "eps", eps, at_least=0)
    _check(x, groups, weight=weight, bias=bias)
    shape, dtype = x.shape, promoted(x, weight, bias)
    x, weight, bias = map(widen, (x, weight, bias))
    x = x.reshape(shape[0], math.prod(shape[1:-1]), shape[-1])  # (N, P, C)
    return normalize_groups(x, weight, bias, groups, eps).reshape(shape).astype(dtype)


@replaceable
def normalize_groups(
    x: Array, weight: Array, bias: Array, groups: int, eps: float
) -> Array:
    """`group_norm` of `(N, P, C)`, of float32 or float64 arrays."""
    n, p, c = x.shape
    grouped = x.reshape(n, p, groups, c // groups)
    centred = grouped - _mean(grouped)
    centred = centred - mx.stop_gradient(_mean(centred))  # 0 but for rounding
    y = centred * mx.rsqrt(_mean(mx.square(centred)) + eps)
    return y.reshape(n, p, c) * broadcast(weight, x) + broadcast(bias, x)


def _mean(x: Array) -> Array:
    """`(N, P, groups, C / groups)` to `(N, 1, groups, 1)`."""
    n, p, groups, width = x.shape
    by_column = sum_rows(x.reshape(n, p, groups * width))
    return mean(by_column.reshape(n, 1, groups, width), axis=3, keepdims=True) / p


def _check(x: Array, groups: int, **channels: Array) -> None:
    check_float("group_norm", x=x, **channels)
    if x.ndim < 2 or 0 in x.shape[1:]:
        raise ValueError(
            f"group_norm: x must have shape (N, ..., C) and values, got {x.shape}"
        )
    if groups < 1 or x.shape[-1] % groups:
        raise ValueError(
            "group_norm: groups must be a positive divisor of the number of channels, "
            f"got {groups} for x of shape {x.shape}"
        )
    for label, array in channels.items():
        if array.shape != x.shape[-1:]:
            raise ValueError(
                f"group_norm: {label} must have shape {x.shape[-1:]} (the last axis of "
                f"x), got {array.shape}"
            )
