"""The affine map of a linear layer, with a dense or a quantized weight."""

import math
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_float, check_size, shape_error
from lucid_fn.numerics import sum_of_products
from lucid_fn.ops.bias import add_bias
from lucid_fn.ops.custom_derivative import Bilinear, bilinear
from lucid_fn.ops.seam import replaceable
from lucid_fn.tracing import is_transforming
from lucid_fn.types import Array


class QuantizedWeight(NamedTuple):
    """A weight `(O, I)` of integers with few bits, in place of an array in params.

    Each group of neighbours in a row has a scale and a bias:
    `weight = scale * integer + bias`. The number of bits and the size of a group follow
    from `I`, which the layer knows.
    """

    packed: Array  # the integers, (O, I * bits / 32), uint32
    scales: Array  # (O, I / group_size)
    biases: Array  # (O, I / group_size)


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
    # MLX drops a reshape to the same shape, but only if it is given without -1.
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

    MLX's own is a transposed product, which every kernel of the optimizer would have to
    read in strides.
    """
    return sum_of_products(g, x)


class Product(NamedTuple):
    """A product with derivatives of any order."""

    forward: Bilinear  # (x, weight) -> y
    ordered: Bilinear  # the same, whose gradient of x waits for that of weight


def product_of(
    run: Bilinear, run_input_grad: Bilinear, run_weight_grad: Bilinear
) -> Product:
    """The product that `run` computes, with gradients computed by the other two.

    The derivative of each of the three is made of the other two, so they need not be
    differentiable themselves.
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


# ---- quantized weights ----

BITS = (4, 8)
GROUP_SIZES = (32, 64, 128)


class Format(NamedTuple):
    """How a weight is quantized: options of MLX's functions."""

    bits: int
    group_size: int


def format_of(weight: QuantizedWeight, in_features: int) -> Format | None:
    """The format of a weight with this many inputs; `None` if there is none."""
    words, groups = weight.packed.shape[-1], weight.scales.shape[-1]
    for bits in BITS:
        for group_size in GROUP_SIZES:
            if (32 * words, group_size * groups) == (bits * in_features, in_features):
                return Format(bits, group_size)
    return None


def is_quantized(weight: Any, shape: tuple[int, ...] | None) -> bool:
    """Whether this is a quantized weight of this shape."""
    if not isinstance(weight, QuantizedWeight) or shape is None or len(shape) != 2:
        return False
    fits = all(part.shape[:-1] == shape[:1] for part in weight)
    return fits and format_of(weight, shape[1]) is not None


def quantized_product(x: Array, weight: QuantizedWeight) -> Array:
    """`x @ weight.T`: `(..., I)` and `(O, I)` to `(..., O)`, in the promoted dtype."""
    format_ = format_of(weight, x.shape[-1])
    if format_ is None:
        raise ValueError(
            "linear: x must have shape (..., I) for a quantized weight (O, I), got "
            f"{x.shape} and scales {weight.scales.shape}"
        )
    dtype = mx.result_type(x, weight.scales)
    packed, *others = weight
    x, scales, biases = (part.astype(dtype) for part in (x, *others))
    same = QuantizedWeight(packed, scales, biases)
    if is_transforming():  # MLX's kernel has no rule for `vmap`
        return x @ _dequantized(*same, format_).T
    return quantized_matmul(x, same, format_)


@replaceable
def quantized_matmul(x: Array, weight: QuantizedWeight, format_: Format) -> Array:
    """`x @ weight.T`, of one dtype."""
    bits, group_size = format_
    return mx.quantized_matmul(x, *weight, True, group_size, bits)


def _dequantized(packed: Array, scales: Array, biases: Array, format_: Format) -> Array:
    """The weight `(O, I)`, with gradients in scales and biases."""
    one, zero = mx.ones_like(scales), mx.zeros_like(scales)
    integers = mx.dequantize(packed, one, zero, format_.group_size, format_.bits)
    groups = integers.reshape(*scales.shape, format_.group_size)
    weight: Array = groups * scales[..., None] + biases[..., None]
    return weight.reshape(integers.shape)


def quantize(weight: Array, bits: int, group_size: int) -> QuantizedWeight:
    """A weight `(O, I)`, `I` a multiple of `group_size`, in integers of `bits` bits."""
    return QuantizedWeight(*mx.quantize(weight, bits=bits, group_size=group_size))
