"""Normalization of each row, the last axis: layer norm and RMS norm.

On GPUs they are MLX's kernels. Their statistics are float32 too, but in half precision
the normalized row is rounded before it is scaled.
"""

import mlx.core as mx

from lucid_fn.checks import check_float, check_number
from lucid_fn.numerics import promoted, widen
from lucid_fn.ops.bias import broadcast
from lucid_fn.ops.reductions import mean
from lucid_fn.ops.seam import replaceable
from lucid_fn.types import Array


def layer_norm(x: Array, weight: Array, bias: Array, *, eps: float) -> Array:
    """Normalizes each row to mean 0 and variance 1, then scales and shifts each column.

    `y = (x - mean) / sqrt(var + eps) * weight + bias`, where `mean` and `var` (biased:
    divided by the number of values) are those of the row, the last axis.

    After the mean has been subtracted, the mean of what is left is subtracted too: rows
    far from zero keep their digits, though their float32 mean has lost some.

    Args:
        x: float, shape `(..., C)`; half precision is computed in float32.
        weight: float, shape `(C,)`.
        bias: float, shape `(C,)`.
        eps: added to the variance; positive.

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
    _check("layer_norm", x, weight=weight, bias=bias)
    y = normalize_rows(x, weight, bias, eps)
    return y.astype(promoted(x, weight, bias))


def rms_norm(x: Array, weight: Array, *, eps: float) -> Array:
    """Divides each row by its root mean square, then scales each column.

    `y = x / sqrt(mean(x^2) + eps) * weight`, with the mean over the last axis.

    Args:
        x: float, shape `(..., C)`; half precision is computed in float32.
        weight: float, shape `(C,)`.
        eps: added to the mean square; positive.

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
    _check("rms_norm", x, weight=weight)
    return scale_rows(x, weight, eps).astype(promoted(x, weight))


@replaceable
def normalize_rows(x: Array, weight: Array, bias: Array, eps: float) -> Array:
    """`layer_norm`, whose result is not yet cast to its dtype."""
    if _has_kernel(x):
        return mx.fast.layer_norm(x, weight, bias, eps)
    x, weight, bias = map(widen, (x, weight, bias))
    x = x - mean(x, axis=-1, keepdims=True)
    # 0 but for rounding: no gradient
    x = x - mx.stop_gradient(mean(x, axis=-1, keepdims=True))
    return _over_root_mean_square(x, eps) * broadcast(weight, x) + broadcast(bias, x)


@replaceable
def scale_rows(x: Array, weight: Array, eps: float) -> Array:
    """`rms_norm`, whose result is not yet cast to its dtype."""
    if _has_kernel(x):
        return mx.fast.rms_norm(x, weight, eps)
    x, weight = widen(x), widen(weight)
    return _over_root_mean_square(x, eps) * broadcast(weight, x)


def _has_kernel(x: Array) -> bool:
    """Whether MLX has a kernel for it: on GPUs, which are asked for a row at least."""
    return bool(mx.default_device() == mx.gpu and x.size)


def _over_root_mean_square(x: Array, eps: float) -> Array:
    return x * mx.rsqrt(mean(mx.square(x), axis=-1, keepdims=True) + eps)


def _check(name: str, x: Array, **columns: Array) -> None:
    check_float(name, x=x, **columns)
    shape = x.shape[-1:]
    if x.ndim == 0 or shape == (0,):
        raise ValueError(f"{name}: x must have shape (..., C), got {x.shape}")
    for label, array in columns.items():
        if array.shape != shape:
            raise ValueError(
                f"{name}: {label} must have shape {shape} (the last axis of x), "
                f"got {array.shape}"
            )
