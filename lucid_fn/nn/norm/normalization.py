"""Layers that normalize the values of each example, in train and eval mode alike."""

import math
from collections.abc import Callable

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import check_float, check_size, to_sizes
from lucid_fn.nn.core.checks import (
    check_eps,
    check_last_axis,
    check_params,
    check_positive,
)
from lucid_fn.nn.core.layer import Layer, parametric
from lucid_fn.types import Array, Key, Params


def layer_norm(
    normalized_shape: int | tuple[int, ...],
    *,
    eps: float = 1e-5,
    affine: bool = True,
    bias: bool = True,
) -> Layer:
    """Layer normalization over the last axes: `(..., *normalized_shape)` to the same.

    `y = (x - mean) / sqrt(var + eps) * weight + bias`, with the mean and the (biased)
    variance over the last axes.

    Params: `weight`, ones, and `bias`, zeros, both of shape `normalized_shape`.

    Args:
        normalized_shape: sizes of the last axes; an integer for the last one alone.
        eps: added to the variance; positive.
        affine: whether there are a weight and a bias.
        bias: whether there is a bias beside the weight.

    Raises:
        ValueError: if a size or `eps` is not positive; on apply, if the last axes of
            `x` are of the wrong shape.

    Source: Ba et al., 2016, https://arxiv.org/abs/1607.06450, eq. 4.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.layer_norm(2)
        >>> params, state = layer.init(random.key(0))
        >>> layer.apply(params, state, mx.array([[1.0, 3.0]]), train=False)[0]
        array([[-0.999995, 0.999995]], dtype=float32)
    """
    shape = _to_shape("layer_norm", normalized_shape)
    eps = check_eps("layer_norm", eps)

    def normalize(x: Array, weight: Array, bias: Array) -> Array:
        rows = _in_rows("layer_norm", x, shape)
        return ops.layer_norm(rows, weight, bias, eps=eps).reshape(x.shape)

    return _normalizing("layer_norm", normalize, eps, shape, affine, affine and bias)


def rms_norm(
    normalized_shape: int | tuple[int, ...], *, eps: float = 1e-5, affine: bool = True
) -> Layer:
    """Root mean square normalization over the last axes.

    `y = x / sqrt(mean(x^2) + eps) * weight`. PyTorch's default `eps` is the epsilon of
    the dtype of `x`, 1.2e-7 for float32.

    Params: `weight`, ones, of shape `normalized_shape`.

    Args:
        normalized_shape: sizes of the last axes; an integer for the last one alone.
        eps: added to the mean square; positive.
        affine: whether there is a weight.

    Raises:
        ValueError: as `layer_norm`.

    Source: Zhang & Sennrich, 2019, https://arxiv.org/abs/1910.07467, eq. 4.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> layer = nn.rms_norm(2)
        >>> params, state = layer.init(random.key(0))
        >>> layer.apply(params, state, mx.array([[1.0, 7.0]]), train=False)[0]
        array([[0.2, 1.4]], dtype=float32)
    """
    shape = _to_shape("rms_norm", normalized_shape)
    eps = check_eps("rms_norm", eps)

    def normalize(x: Array, weight: Array, bias: Array) -> Array:
        rows = _in_rows("rms_norm", x, shape)
        return ops.rms_norm(rows, weight, eps=eps).reshape(x.shape)

    return _normalizing("rms_norm", normalize, eps, shape, affine, False)


def group_norm(
    num_groups: int,
    num_channels: int,
    *,
    eps: float = 1e-5,
    affine: bool = True,
    bias: bool = True,
) -> Layer:
    """Group normalization, of groups of neighbouring channels: `(N, ..., C)` to the
    same.

    `y = (x - mean) / sqrt(var + eps) * weight + bias`, with the mean and the (biased)
    variance of an example over all axes, for each of the groups. It works with a batch
    of one.

    Params: `weight` `(num_channels,)`, ones, and `bias` `(num_channels,)`, zeros.

    Args:
        num_groups: groups, a divisor of `num_channels`.
        num_channels: channels of the input.
        eps: added to the variance; positive.
        affine: whether there are a weight and a bias.
        bias: whether there is a bias beside the weight.

    Raises:
        ValueError: if an argument is out of range; on apply, if `x` has the wrong
            number of channels.

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
        "group_norm", num_groups, num_channels, eps, affine, bias, least=2
    )


def group_norm_layer(
    caller: str,
    groups: int,
    channels: int,
    eps: float,
    affine: bool,
    bias: bool,
    least: int,
) -> Layer:
    """The layer of `caller`, for arrays of `least` axes or more."""
    groups, channels = check_positive(caller, num_groups=groups, num_channels=channels)
    eps = check_eps(caller, eps)
    if channels % groups:
        raise ValueError(
            f"{caller}: num_groups must divide num_channels, got {groups} and "
            f"{channels}"
        )

    def normalize(x: Array, weight: Array, bias: Array) -> Array:
        check_last_axis(caller, x, channels, least_ndim=least)
        if math.prod(x.shape[1:]) == groups:
            raise ValueError(
                f"{caller}: x must have at least 2 values to normalize, got 1, x of "
                f"shape {x.shape}"
            )
        return ops.group_norm(x, weight, bias, groups=groups, eps=eps)

    return _normalizing(caller, normalize, eps, (channels,), affine, affine and bias)


def _normalizing(
    caller: str,
    normalize: Callable[[Array, Array, Array], Array],
    eps: float,
    shape: tuple[int, ...],
    has_weight: bool,
    has_bias: bool,
) -> Layer:
    """The layer of `normalize(x, weight, bias)`, whose params are rows.

    Where there are no params of `shape`, they are ones and zeros of the dtype of `x`.
    """
    check_eps(caller, eps)
    size = math.prod(shape)

    def init(key: Key) -> Params:
        check_size(caller, "shape", shape)
        weight = {"weight": mx.ones(shape)} if has_weight else {}
        return weight | ({"bias": mx.zeros(shape)} if has_bias else {})

    def forward(params: Params, x: Array) -> Array:
        check_float(caller, x=x)
        check_params(
            caller,
            params,
            weight=shape if has_weight else None,
            bias=shape if has_bias else None,
        )
        weight = params["weight"] if has_weight else mx.ones((size,), x.dtype)
        bias = params["bias"] if has_bias else mx.zeros((size,), x.dtype)
        return normalize(x, weight.reshape(size), bias.reshape(size))

    return parametric(init, forward, examplewise=True)


def _to_shape(caller: str, shape: int | tuple[int, ...]) -> tuple[int, ...]:
    dims = len(shape) if isinstance(shape, tuple | list) else 1
    if dims == 0:
        raise ValueError(f"{caller}: normalized_shape must have an axis, got ()")
    return to_sizes(caller, "normalized_shape", shape, dims=dims, at_least=1)


def _in_rows(caller: str, x: Array, shape: tuple[int, ...]) -> Array:
    """The last axes, which must be `shape`, as one."""
    if x.shape[-len(shape) :] != shape:
        raise ValueError(
            f"{caller}: x must have shape (..., {', '.join(map(str, shape))}), got "
            f"{x.shape}"
        )
    return x.reshape(*x.shape[: x.ndim - len(shape)], math.prod(shape))
