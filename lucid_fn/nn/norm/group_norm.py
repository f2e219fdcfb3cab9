"""Group normalization, of groups of channels of each example."""

import math

from lucid_fn import ops
from lucid_fn.checks import check_bool
from lucid_fn.nn.core.checks import check_eps, check_last_axis, check_positive
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.norm.layer_norm import normalizing
from lucid_fn.types import Array


def group_norm(
    num_groups: int,
    num_channels: int,
    *,
    eps: float = 1e-5,
    affine: bool = True,
    bias: bool = True,
) -> Layer:
    """Group normalization: `(N, ..., num_channels)` to the same shape.

    `y = (x - mean) / sqrt(var + eps) * weight + bias`, with the mean and the (biased)
    variance of each group of neighbouring channels of each example, over all axes. It
    does not depend on the batch size.

    Params: `weight` `(num_channels,)`, ones, and `bias` `(num_channels,)`, zeros.

    Args:
        num_groups: number of groups, a divisor of `num_channels`.
        num_channels: channels of the input.
        eps: added to the variance; positive.
        affine: whether there are a weight and a bias.
        bias: whether there is a bias beside the weight.

    Raises:
        ValueError: if an argument is out of range; on apply, if `x` has the wrong
            number of channels, or if there is only one value to normalize, whose
            variance is 0.

    Source: Wu & He, 2018, https://arxiv.org/abs/1803.08494, eq. 7.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.group_norm(2, 4)
        >>> params, state = layer.init(random.key(0))
        >>> x = mx.array([[1.0, 3.0, 10.0, 10.0]])
        >>> mx.round(layer.apply(params, state, x, train=False)[0], 2)
        array([[-1, 1, 0, 0]], dtype=float32)
    """
    return group_norm_layer(
        "group_norm", num_groups, num_channels, eps, affine, bias, least_ndim=2
    )


def group_norm_layer(
    caller: str,
    groups: int,
    channels: int,
    eps: float,
    affine: bool,
    bias: bool,
    least_ndim: int,
) -> Layer:
    """The layer behind `caller`, for arrays of at least `least_ndim` axes."""
    check_bool(caller, affine=affine, bias=bias)
    groups, channels = check_positive(caller, num_groups=groups, num_channels=channels)
    eps = check_eps(caller, eps)
    if channels % groups:
        raise ValueError(
            f"{caller}: num_groups must divide num_channels, got {groups} and "
            f"{channels}"
        )

    def normalize(x: Array, weight: Array, bias: Array) -> Array:
        check_last_axis(caller, x, channels, least_ndim=least_ndim)
        if math.prod(x.shape[1:]) == groups:
            raise ValueError(
                f"{caller}: x must have at least 2 values to normalize, got 1, x of "
                f"shape {x.shape}"
            )
        return ops.group_norm(x, weight, bias, groups=groups, eps=eps)

    return normalizing(caller, normalize, (channels,), affine, affine and bias)
