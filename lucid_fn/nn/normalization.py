"""Layers that normalize the values of each example, in train and eval mode alike."""

import math

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import check_count, check_float, to_sizes
from lucid_fn.nn.checks import check_eps, check_last_axis, check_params, check_positive
from lucid_fn.nn.layer import Layer, parametric
from lucid_fn.types import Array, Key, Params


def layer_norm(
    normalized_shape: int | tuple[int, ...],
    *,
    eps: float = 1e-5,
    affine: bool = True,
    bias: bool = True,
) -> Layer:
    """Normalizes the last axes: `(..., *normalized_shape)` to the same.

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
            `x` are of another shape.

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

    def init(key: Key) -> Params:
        return _weight_and_bias(shape, affine, affine and bias)

    def forward(params: Params, x: Array) -> Array:
        _check_last_axes("layer_norm", x, shape)
        offset_shape = shape if affine and bias else None
        check_params(
            "layer_norm", params, weight=shape if affine else None, bias=offset_shape
        )
        weight, offset = _weight_and_bias_of(params, math.prod(shape), x)
        return ops.layer_norm(_in_rows(x, shape), weight, offset, eps=eps).reshape(
            x.shape
        )

    return parametric(init, forward, examplewise=True)


def rms_norm(
    normalized_shape: int | tuple[int, ...], *, eps: float = 1e-5, affine: bool = True
) -> Layer:
    """Divides by the root of the mean square of the last axes.

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

    def init(key: Key) -> Params:
        return _weight_and_bias(shape, affine, False)

    def forward(params: Params, x: Array) -> Array:
        _check_last_axes("rms_norm", x, shape)
        check_params("rms_norm", params, weight=shape if affine else None)
        weight, _ = _weight_and_bias_of(params, math.prod(shape), x)
        return ops.rms_norm(_in_rows(x, shape), weight, eps=eps).reshape(x.shape)

    return parametric(init, forward, examplewise=True)


def group_norm(
    num_groups: int, num_channels: int, *, eps: float = 1e-5, affine: bool = True
) -> Layer:
    """Normalizes groups of neighbouring channels: `(N, ..., C)` to the same.

    `y = (x - mean) / sqrt(var + eps) * weight + bias`, with the mean and the (biased)
    variance of an example over all axes, for each of the groups. It works with a batch
    of one.

    Params: `weight` `(num_channels,)`, ones, and `bias` `(num_channels,)`, zeros.

    Args:
        num_groups: groups, a divisor of `num_channels`.
        num_channels: channels of the input.
        eps: added to the variance; positive.
        affine: whether there are a weight and a bias.

    Raises:
        ValueError: if an argument is out of range; on apply, if `x` has another number
            of channels.

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
    return _group_norm("group_norm", num_groups, num_channels, eps, affine, least=2)


def instance_norm(
    num_features: int, *, eps: float = 1e-5, affine: bool = False
) -> Layer:
    """Normalizes each channel of each example: `(N, ..., num_features)` to the same.

    `group_norm` with as many groups as channels, by default without params.

    Args:
        num_features: channels of the input.
        eps: added to the variance; positive.
        affine: whether there are a weight and a bias.

    Raises:
        ValueError: as `group_norm`; on apply, if there is one value to normalize, whose
            variance is 0.

    Source: Ulyanov et al., 2016, https://arxiv.org/abs/1607.08022, eq. 4.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> x = mx.array([[[1.0], [3.0]]])
        >>> nn.instance_norm(1).apply({}, {}, x, train=True)[0].squeeze()
        array([-0.999995, 0.999995], dtype=float32)
    """
    num_features = check_count("instance_norm", "num_features", num_features)
    return _group_norm(
        "instance_norm", num_features, num_features, eps, affine, least=3
    )


def _group_norm(
    caller: str, groups: int, channels: int, eps: float, affine: bool, least: int
) -> Layer:
    groups, channels = check_positive(caller, num_groups=groups, num_channels=channels)
    eps = check_eps(caller, eps)
    if channels % groups:
        raise ValueError(
            f"{caller}: num_groups must divide num_channels, got {groups} and "
            f"{channels}"
        )

    def init(key: Key) -> Params:
        return _weight_and_bias((channels,), affine, affine)

    def forward(params: Params, x: Array) -> Array:
        check_last_axis(caller, x, channels, least_ndim=least)
        places = math.prod(x.shape[1:-1])
        if places * channels == groups:
            raise ValueError(
                f"{caller}: x must have at least 2 values to normalize, got 1, x of "
                f"shape {x.shape}"
            )
        shape = (channels,) if affine else None
        check_params(caller, params, weight=shape, bias=shape)
        weight, bias = _weight_and_bias_of(params, channels, x)
        return ops.group_norm(x, weight, bias, groups=groups, eps=eps)

    return parametric(init, forward, examplewise=True)


def _weight_and_bias_of(params: Params, size: int, x: Array) -> tuple[Array, Array]:
    """As rows; ones and zeros of the dtype of `x` where the params have none."""
    weight, bias = params.get("weight"), params.get("bias")
    return (
        mx.ones((size,), x.dtype) if weight is None else weight.reshape(size),
        mx.zeros((size,), x.dtype) if bias is None else bias.reshape(size),
    )


def _in_rows(x: Array, shape: tuple[int, ...]) -> Array:
    """The last axes as one."""
    return x.reshape(*x.shape[: x.ndim - len(shape)], math.prod(shape))


def _weight_and_bias(shape: tuple[int, ...], weight: bool, bias: bool) -> Params:
    params = {"weight": mx.ones(shape)} if weight else {}
    return {**params, "bias": mx.zeros(shape)} if bias else params


def _to_shape(caller: str, shape: int | tuple[int, ...]) -> tuple[int, ...]:
    dims = len(shape) if isinstance(shape, tuple | list) else 1
    if dims == 0:
        raise ValueError(f"{caller}: normalized_shape must have an axis, got ()")
    return to_sizes(caller, "normalized_shape", shape, dims=dims, at_least=1)


def _check_last_axes(caller: str, x: Array, shape: tuple[int, ...]) -> None:
    check_float(caller, x=x)
    if x.shape[-len(shape) :] != shape:
        raise ValueError(
            f"{caller}: x must have shape (..., {', '.join(map(str, shape))}), got "
            f"{x.shape}"
        )
