"""Layer normalization and RMS normalization, of the last axes of each example."""

import math
from collections.abc import Callable

from lucid_fn import ops
from lucid_fn.checks import check_bool, check_float, check_size, shape_error, to_sizes
from lucid_fn.nn.core.checks import check_eps
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.core.lift import parametric
from lucid_fn.nn.norm.affine import init_affine, weight_and_bias
from lucid_fn.types import Array, Key, Params


def layer_norm(
    normalized_shape: int | tuple[int, ...],
    *,
    eps: float = 1e-5,
    affine: bool = True,
    bias: bool = True,
) -> Layer:
    """Layer normalization: `(..., *normalized_shape)` to the same shape.

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
    check_bool("layer_norm", affine=affine, bias=bias)
    shape = _to_shape("layer_norm", normalized_shape)
    eps = check_eps("layer_norm", eps)

    def normalize(x: Array, weight: Array, bias: Array) -> Array:
        rows = _flatten_last("layer_norm", x, shape)
        return ops.layer_norm(rows, weight, bias, eps=eps).reshape(x.shape)

    return normalizing("layer_norm", normalize, shape, affine, affine and bias)


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
    check_bool("rms_norm", affine=affine)
    shape = _to_shape("rms_norm", normalized_shape)
    eps = check_eps("rms_norm", eps)

    def normalize(x: Array, weight: Array, bias: Array) -> Array:
        rows = _flatten_last("rms_norm", x, shape)
        return ops.rms_norm(rows, weight, eps=eps).reshape(x.shape)

    return normalizing("rms_norm", normalize, shape, affine, False)


def normalizing(
    caller: str,
    normalize: Callable[[Array, Array, Array], Array],
    shape: tuple[int, ...],
    has_weight: bool,
    has_bias: bool,
) -> Layer:
    """The layer of `normalize(x, weight, bias)`, which takes its params flattened."""

    def init(key: Key) -> Params:
        check_size(caller, "shape", shape)
        return init_affine(shape, has_weight, has_bias)

    def forward(params: Params, x: Array) -> Array:
        check_float(caller, x=x)
        weight, bias = weight_and_bias(
            caller, params, shape, has_weight, has_bias, x.dtype
        )
        return normalize(x, weight.reshape(-1), bias.reshape(-1))

    return parametric(init, forward, examplewise=True)


def _to_shape(caller: str, shape: int | tuple[int, ...]) -> tuple[int, ...]:
    dims = len(shape) if isinstance(shape, tuple | list) else 1
    if dims == 0:
        raise ValueError(f"{caller}: normalized_shape must have an axis, got ()")
    return to_sizes(caller, "normalized_shape", shape, dims=dims, at_least=1)


def _flatten_last(caller: str, x: Array, shape: tuple[int, ...]) -> Array:
    """`x` with its last axes, which must have this shape, flattened to one."""
    if x.shape[-len(shape) :] != shape:
        raise shape_error(caller, "x", x, f"(..., {', '.join(map(str, shape))})")
    return x.reshape(*x.shape[: x.ndim - len(shape)], math.prod(shape))
