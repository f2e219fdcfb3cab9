"""The affine map of a linear layer."""

import math
from typing import NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_float, check_size, shape_error
from lucid_fn.numerics import sum_of_products
from lucid_fn.ops.bias import add_bias
from lucid_fn.ops.custom_derivative import Bilinear, bilinear
from lucid_fn.ops.quantized import QuantizedWeight, quantized_product
from lucid_fn.ops.seam import replaceable
from lucid_fn.types import Array


def linear(
    x: Array, weight: Array | QuantizedWeight, bias: Array | None = None
) -> Array:
    """The affine map `x @ weight.T + bias`.

    Args:
        x: float, shape `(..., I)`.
        weight: float, shape `(O, I)`, or quantized by `nn.quantize`.
        bias: float, shape `(O,)`; none by default.

    Returns:
        Float array of shape `(..., O)`, of the dtype that the arguments promote to.

    Raises:
        TypeError: if an argument is not an MLX array of a float dtype.
        ValueError: if a shape does not fit.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.linear(mx.array([[1.0, 2.0]]), mx.array([[3.0, 4.0], [5.0, 6.0]]))
        array([[11, 17]], dtype=float32)
    """
    if isinstance(weight, QuantizedWeight):
        return _quantized_linear(x, weight, bias)
    check_float("linear", x=x, weight=weight, **{} if bias is None else {"bias": bias})
    if x.ndim == 0 or weight.ndim != 2 or x.shape[-1] != weight.shape[-1]:
        raise ValueError(
            "linear: x must have shape (..., I) and weight (O, I), got "
            f"{x.shape} and {weight.shape}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise shape_error("linear", "bias", bias, f"{weight.shape[:1]}")
    check_size("linear", "x and weight", (*x.shape[:-1], weight.shape[0]))
    if x.dtype != weight.dtype:
        dtype = mx.result_type(x, weight)
        x, weight = x.astype(dtype), weight.astype(dtype)
    # All sizes in numbers: MLX drops a reshape to the same shape, but not one with -1.
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    y = product(rows, weight).reshape(*x.shape[:-1], weight.shape[0])
    return y if bias is None else add_bias(y, bias)


def _quantized_linear(x: Array, weight: QuantizedWeight, bias: Array | None) -> Array:
    check_float("linear", x=x, **{} if bias is None else {"bias": bias})
    y = quantized_product(x, weight)
    return y if bias is None else add_bias(y, bias)


@replaceable
def product(x: Array, weight: Array) -> Array:
    """`x @ weight.T`: `(R, I)` and `(O, I)` to `(R, O)`, of one dtype."""
    return _PLAIN.forward(x, weight)


def forward(x: Array, weight: Array) -> Array:
    """`(R, I)` and `(O, I)` to `(R, O)`."""
    return x @ weight.T


def input_grad(g: Array, weight: Array) -> Array:
    """The gradient in `x`, `(R, I)`."""
    return g @ weight


def weight_grad(x: Array, g: Array) -> Array:
    """The gradient in `weight`, `(O, I)`, laid out in memory like `weight`.

    MLX's own is the transpose of a product: every kernel of the optimizer would then
    walk through memory in strides.
    """
    return sum_of_products(g, x)


class Product(NamedTuple):
    """A product with derivatives of any order."""

    forward: Bilinear  # (x, weight) -> y
    ordered: Bilinear  # the same, whose gradient of x waits for that of weight


def product_of(
    run: Bilinear, run_input_grad: Bilinear, run_weight_grad: Bilinear
) -> Product:
    """A product that `run` computes, with gradients that the others compute.

    Each of the three is the derivative of the other two, and none needs one of its own.
    """
    plain, ordered = (
        bilinear(
            run,
            left_grad=lambda g, weight: of_input(g, weight),
            right_grad=lambda x, g: of_weight(x, g),
            mappable=forward,
            folds=True,
            right_first=right_first,
        )
        for right_first in (False, True)
    )
    of_input = bilinear(
        run_input_grad,
        left_grad=lambda dx, weight: plain(dx, weight),
        right_grad=lambda g, dx: of_weight(dx, g),
        mappable=input_grad,
        folds=True,
    )
    of_weight = bilinear(
        run_weight_grad,
        left_grad=lambda dweight, g: of_input(g, dweight),
        right_grad=lambda x, dweight: plain(x, dweight),
        mappable=weight_grad,
        folds=False,
    )
    return Product(plain, ordered)


_PLAIN = product_of(forward, input_grad, weight_grad)
