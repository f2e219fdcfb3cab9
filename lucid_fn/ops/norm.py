"""Batch, layer, RMS and group normalization."""

import math

import mlx.core as mx

from lucid_fn.checks import check_count, check_float, check_number
from lucid_fn.numerics import channel_sum, promoted, sum_rows, widen
from lucid_fn.ops.bias import broadcast
from lucid_fn.ops.reductions import mean
from lucid_fn.ops.seam import examplewise, is_divided, join, replaceable
from lucid_fn.types import Array


def batch_norm(
    x: Array, weight: Array, bias: Array, *, eps: float
) -> tuple[Array, Array, Array]:
    """Normalizes each channel to mean 0 and variance 1 over the batch, then scales it.

    `y = (x - mean) / sqrt(var + eps) * weight + bias`, where `mean` and `var` (biased:
    divided by the number of values) are those of the channel over all axes but the
    last. Both are returned, for running statistics; gradients flow through all three
    results.

    The variance is computed in two passes, as the mean square of `x - mean`, from sums
    of blocks in float32 at least. So it stays accurate for millions of values far from
    zero.

    Args:
        x: float, shape `(..., C)`.
        weight: float, shape `(C,)`.
        bias: float, shape `(C,)`.
        eps: added to the variance, at least 0.

    Returns:
        `y` of the shape of `x`, of the dtype that `x`, `weight` and `bias` promote to;
        `mean` and `var`, float32 (float64 for float64), shape `(C,)`, NaN if `x` has no
        values.

    Raises:
        TypeError: if an argument is not an MLX array of a float dtype.
        ValueError: if `weight` or `bias` does not have the shape `(C,)`.

    Source: Ioffe & Szegedy, 2015, https://arxiv.org/abs/1502.03167, algorithm 1.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.array([[1.0], [3.0]])
        >>> y, mean, var = ops.batch_norm(x, mx.ones((1,)), mx.zeros((1,)), eps=1e-5)
        >>> y
        array([[-0.999995],
               [0.999995]], dtype=float32)
        >>> mean.item(), var.item()
        (2.0, 1.0)
    """
    eps = check_number("batch_norm", "eps", eps, at_least=0)
    _check_batch("batch_norm", x, weight=weight, bias=bias)
    if x.size == 0:
        zero = mx.zeros(weight.shape, widen(x).dtype)
        nothing = mx.full(weight.shape, math.nan, zero.dtype)
        y = batch_norm_eval(x, weight, bias, zero, zero, eps=eps)
        return y, nothing, nothing
    y, mean, var = normalize_channels(widen(x), widen(weight), widen(bias), eps)
    return y.astype(promoted(x, weight, bias)), mean, var


@replaceable
def normalize_channels(
    x: Array, weight: Array, bias: Array, eps: float
) -> tuple[Array, Array, Array]:
    """`y`, `mean` and `var` of `batch_norm`, of float32 or float64 arrays.

    `x` may be a divided batch, which the plain formulation joins.
    """
    x = join(x)
    count = x.size // weight.size
    mean = channel_sum(x) / count
    centred = x - broadcast(mean, x)
    # The mean of the centred values: digits that the float32 mean has lost.
    rest = channel_sum(centred) / count
    var = channel_sum(mx.square(centred)) / count - mx.square(rest)
    scale = channel_scale(weight, var, eps)
    y = (centred - broadcast(rest, x)) * broadcast(scale, x) + broadcast(bias, x)
    return y, mean + rest, var


@examplewise
def batch_norm_eval(
    x: Array, weight: Array, bias: Array, mean: Array, var: Array, *, eps: float
) -> Array:
    """Normalizes each channel by a given mean and variance, such as running statistics.

    `y = (x - mean) / sqrt(var + eps) * weight + bias`.

    Args:
        x: float, shape `(..., C)`.
        weight: float, shape `(C,)`.
        bias: float, shape `(C,)`.
        mean: float, shape `(C,)`.
        var: float, shape `(C,)`, at least 0.
        eps: added to the variance, at least 0.

    Returns:
        Float array of the shape of `x`, of the dtype that `x`, `weight` and `bias`
        promote to.

    Raises:
        TypeError: if an argument is not an MLX array of a float dtype.
        ValueError: if an argument other than `x` does not have the shape `(C,)`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> one, zero = mx.ones((1,)), mx.zeros((1,))
        >>> x = mx.array([[5.0]])
        >>> ops.batch_norm_eval(x, one, zero, one, one * 4, eps=0.0).item()
        2.0
    """
    eps = check_number("batch_norm_eval", "eps", eps, at_least=0)
    _check_batch("batch_norm_eval", x, weight=weight, bias=bias, mean=mean, var=var)
    dtype = promoted(x, weight, bias)
    x, weight, bias, mean, var = map(widen, (x, weight, bias, mean, var))
    scale = channel_scale(weight, var, eps)
    y = (x - broadcast(mean, x)) * broadcast(scale, x) + broadcast(bias, x)
    return y.astype(dtype)


@replaceable
def channel_scale(weight: Array, var: Array, eps: float) -> Array:
    """`weight / sqrt(var + eps)`, shape `(C,)`."""
    return weight * mx.rsqrt(var + eps)


def layer_norm(x: Array, weight: Array, bias: Array, *, eps: float) -> Array:
    """Normalizes each row to mean 0 and variance 1, then scales and shifts each column.

    `y = (x - mean) / sqrt(var + eps) * weight + bias`, where `mean` and `var` (biased:
    divided by the number of values) are those of the row, the last axis.

    The mean is subtracted twice: rows far from zero keep the digits that their float32
    mean has lost.

    Args:
        x: float, shape `(..., C)`; half precision is computed in float32.
        weight: float, shape `(C,)`.
        bias: float, shape `(C,)`.
        eps: added to the variance, at least 0.

    Returns:
        Float array of the shape of `x`, of the dtype that `x`, `weight` and `bias`
        promote to.

    Raises:
        TypeError: if an argument is not an MLX array of a float dtype.
        ValueError: if `weight` or `bias` does not have the shape `(C,)`, or `C` is 0.

    Source: Ba et al., 2016, https://arxiv.org/abs/1607.06450, eq. 4.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.array([[1.0, 3.0]])
        >>> ops.layer_norm(x, mx.ones((2,)), mx.zeros((2,)), eps=1e-5)
        array([[-0.999995, 0.999995]], dtype=float32)
    """
    eps = check_number("layer_norm", "eps", eps, at_least=0)
    _check_rows("layer_norm", x, weight=weight, bias=bias)
    y = normalize_rows(x, weight, bias, eps)
    return y.astype(promoted(x, weight, bias))


def rms_norm(x: Array, weight: Array, *, eps: float) -> Array:
    """Divides each row by its root mean square, then scales each column.

    `y = x / sqrt(mean(x^2) + eps) * weight`, with the mean over the last axis.

    Args:
        x: float, shape `(..., C)`; half precision is computed in float32.
        weight: float, shape `(C,)`.
        eps: added to the mean square, at least 0.

    Returns:
        Float array of the shape of `x`, of the dtype that `x` and `weight` promote to.

    Raises:
        TypeError: if an argument is not an MLX array of a float dtype.
        ValueError: if `weight` does not have the shape `(C,)`, or `C` is 0.

    Source: Zhang & Sennrich, 2019, https://arxiv.org/abs/1910.07467, eq. 4.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.rms_norm(mx.array([[1.0, 7.0]]), mx.ones((2,)), eps=1e-5)
        array([[0.2, 1.4]], dtype=float32)
    """
    eps = check_number("rms_norm", "eps", eps, at_least=0)
    _check_rows("rms_norm", x, weight=weight)
    return scale_rows(x, weight, eps).astype(promoted(x, weight))


@replaceable
def normalize_rows(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    """`layer_norm` without checks and the final cast."""
    if _has_kernel(x):
        return mx.fast.layer_norm(x, weight, bias, eps)
    x, weight, bias = map(widen, (x, weight, bias))
    x = x - mean(x, axis=-1, keepdims=True)
    # 0 but for rounding: no gradient
    x = x - mx.stop_gradient(mean(x, axis=-1, keepdims=True))
    return _over_root_mean_square(x, eps) * broadcast(weight, x) + broadcast(bias, x)


@replaceable
def scale_rows(x: Array, weight: Array, eps: float) -> Array:
    """`rms_norm` without checks and the final cast."""
    if _has_kernel(x):
        return mx.fast.rms_norm(x, weight, eps)
    x, weight = widen(x), widen(weight)
    return _over_root_mean_square(x, eps) * broadcast(weight, x)


def _has_kernel(x: Array) -> bool:
    """Whether MLX's kernel is used: on GPUs, for arrays that are not empty.

    In half precision it rounds the normalized row before it is scaled.
    """
    return bool(mx.default_device() == mx.gpu and x.size)


def _over_root_mean_square(x: Array, eps: float) -> Array:
    return x * mx.rsqrt(mean(mx.square(x), axis=-1, keepdims=True) + eps)


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
        eps: added to the variance, at least 0.

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
    _check_groups(x, groups, weight=weight, bias=bias)
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
    centred = grouped - _group_mean(grouped)
    centred = centred - mx.stop_gradient(_group_mean(centred))  # 0 but for rounding
    y = centred * mx.rsqrt(_group_mean(mx.square(centred)) + eps)
    return y.reshape(n, p, c) * broadcast(weight, x) + broadcast(bias, x)


def _group_mean(x: Array) -> Array:
    """`(N, P, groups, C / groups)` to `(N, 1, groups, 1)`."""
    n, p, groups, width = x.shape
    by_column = sum_rows(x.reshape(n, p, groups * width))
    return mean(by_column.reshape(n, 1, groups, width), axis=3, keepdims=True) / p


# ---- checks ----


def _check_batch(name: str, x: Array, **channels: Array) -> None:
    check_float(name, **channels)
    if not is_divided(x):  # divided batches are float arrays
        check_float(name, x=x)
    shape = next(iter(channels.values())).shape
    if x.ndim < 2 or x.shape[-1:] != shape:
        raise ValueError(
            f"{name}: x must have shape (..., {', '.join(map(str, shape))}) with at "
            f"least one axis before the channels, got {x.shape}"
        )
    _check_channels(name, shape, channels)


def _check_rows(name: str, x: Array, **columns: Array) -> None:
    check_float(name, x=x, **columns)
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError(f"{name}: x must have shape (..., C), got {x.shape}")
    _check_channels(name, x.shape[-1:], columns)


def _check_groups(x: Array, groups: int, **channels: Array) -> None:
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
    _check_channels("group_norm", x.shape[-1:], channels)


def _check_channels(
    name: str, shape: tuple[int, ...], channels: dict[str, Array]
) -> None:
    for label, array in channels.items():
        if array.shape != shape:
            raise ValueError(
                f"{name}: {label} must have shape {shape} (the last axis of x), "
                f"got {array.shape}"
            )
