"""Normalization of each row, the last axis: layer norm and RMS norm."""

from functools import lru_cache
from typing import NamedTuple, cast

import mlx.core as mx

from lucid_fn.checks import check_number
from lucid_fn.cpu.memory.broadcast import multiply, subtract
from lucid_fn.cpu.memory.row_reductions import row_sum
from lucid_fn.ops.bias import broadcast
from lucid_fn.ops.channel_sum import channel_sum
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.dtypes import promoted, widened
from lucid_fn.ops.seam import tuned
from lucid_fn.types import Array, ArrayFn


def layer_norm(x: Array, weight: Array, bias: Array, *, eps: float) -> Array:
    """Shifts and scales each row to mean 0 and variance 1, then each column.

    `y = (x - mean) / sqrt(var + eps) * weight + bias`, where `mean` and `var` (biased:
    divided by the number of values) are those of the row, the last axis.

    The mean of the deviations from the mean is taken off once more: rows far from zero
    keep their digits, though their float32 mean has lost some.

    Args:
        x: float, shape `(..., C)`; half precision is computed in float32.
        weight: float, shape `(C,)`.
        bias: float, shape `(C,)`.
        eps: added to the variance; positive.

    Returns:
        Float array of the shape of `x`, of the dtype that `x`, `weight` and `bias`
        promote to.

    Raises:
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
    if mx.default_device() == mx.gpu:
        return mx.fast.layer_norm(x, weight, bias, eps).astype(
            promoted(x, weight, bias)
        )
    dtype = promoted(x, weight, bias)
    x, weight, bias = map(widened, (x, weight, bias))
    norm = (_tuned_layer if _is_tuned(x) else _plain_layer)(eps)
    return cast(Array, norm(x, weight, bias)).astype(dtype)


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
    if mx.default_device() == mx.gpu:
        return mx.fast.rms_norm(x, weight, eps).astype(promoted(x, weight))
    dtype, x, weight = promoted(x, weight), widened(x), widened(weight)
    norm = (_tuned_rms if _is_tuned(x) else _plain_rms)(eps)
    return cast(Array, norm(x, weight)).astype(dtype)


def _is_tuned(x: Array) -> bool:
    return tuned() and x.dtype == mx.float32


def _check(name: str, x: Array, **columns: Array) -> None:
    shape = x.shape[-1:]
    if x.ndim == 0 or shape == (0,):
        raise ValueError(f"{name}: x must have shape (..., C), got {x.shape}")
    for label, array in columns.items():
        if array.shape != shape:
            raise ValueError(
                f"{name}: {label} must have shape {shape} (the last axis of x), "
                f"got {array.shape}"
            )


def _plain_layer(eps: float) -> ArrayFn:
    """The equation; MLX finds the gradient."""

    def run(x: Array, weight: Array, bias: Array) -> Array:
        x = x - mx.mean(x, axis=-1, keepdims=True)
        # 0 but for rounding: no gradient
        x = x - mx.stop_gradient(mx.mean(x, axis=-1, keepdims=True))
        return cast(Array, _plain_rms(eps)(x, weight)) + broadcast(bias, x)

    return run


def _plain_rms(eps: float) -> ArrayFn:
    def run(x: Array, weight: Array) -> Array:
        square = mx.mean(mx.square(x), axis=-1, keepdims=True)
        return x * mx.rsqrt(square + eps) * broadcast(weight, x)

    return run


class _Rows(NamedTuple):
    """Normalized rows `h` `(R, C)`, and what they were divided by, `1 / r` `(R, 1)`."""

    h: Array
    r: Array


def _centre_and_scale(x: Array, eps: float) -> _Rows:
    x = subtract(x, _row_mean(x))
    rest = _row_mean(x)  # digits that the float32 mean of rows far from 0 has lost
    r = mx.rsqrt(_row_mean(mx.square(x)) - mx.square(rest) + eps)
    return _Rows(multiply(subtract(x, rest), r), r)


def _scale(x: Array, eps: float) -> _Rows:
    r = mx.rsqrt(_row_mean(mx.square(x)) + eps)
    return _Rows(multiply(x, r), r)


@lru_cache(maxsize=64)
def _tuned_layer(eps: float) -> ArrayFn:
    @custom_function
    def run(x: Array, weight: Array, bias: Array) -> Array:
        h, _ = _centre_and_scale(_rows(x), eps)
        return (h * weight + bias).reshape(x.shape)

    @run.vjp
    def vjp(
        primals: tuple[Array, Array, Array], g: Array, _: Array
    ) -> tuple[Array, Array, Array]:
        x, weight, _ = primals
        g = _rows(g)
        h, r = _centre_and_scale(_rows(x), eps)
        dh = multiply(g, weight)
        along_h = multiply(h, _row_mean(mx.contiguous(dh * h)))
        dx = multiply(subtract(mx.contiguous(dh - along_h), _row_mean(dh)), r)
        return dx.reshape(x.shape), channel_sum(g * h), channel_sum(g)

    return cast(ArrayFn, run)


@lru_cache(maxsize=64)
def _tuned_rms(eps: float) -> ArrayFn:
    @custom_function
    def run(x: Array, weight: Array) -> Array:
        h, _ = _scale(_rows(x), eps)
        return (h * weight).reshape(x.shape)

    @run.vjp
    def vjp(primals: tuple[Array, Array], g: Array, _: Array) -> tuple[Array, Array]:
        x, weight = primals
        g = _rows(g)
        h, r = _scale(_rows(x), eps)
        dh = multiply(g, weight)
        along_h = multiply(h, _row_mean(mx.contiguous(dh * h)))
        dx = multiply(mx.contiguous(dh - along_h), r)
        return dx.reshape(x.shape), channel_sum(g * h)

    return cast(ArrayFn, run)


def _rows(x: Array) -> Array:
    """`(..., C)` to `(R, C)`."""
    return x.reshape(-1, x.shape[-1])


def _row_mean(x: Array) -> Array:
    """`(R, C)` to `(R, 1)`."""
    # Not a Python number: a kernel of its own for each size of layer.
    return multiply(row_sum(x), mx.array(1 / x.shape[1]))
