"""Products with quantized weights."""

from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn.ops.embedding import take_rows_or_nan
from lucid_fn.ops.seam import replaceable
from lucid_fn.tracing import is_transforming
from lucid_fn.types import Array


class QuantizedWeight(NamedTuple):
    """A weight `(O, I)` in a few bits, in the place of an array among the params.

    A group of neighbours in a row has a scale and a bias:
    `weight = scale * integer + bias`. How many bits an integer has, and a group
    members, follows from `I`, which the layer knows.
    """

    packed: Array  # the integers, (O, I * bits / 32), uint32
    scales: Array  # (O, I / group_size)
    biases: Array  # (O, I / group_size)


BITS = (4, 8)
GROUP_SIZES = (32, 64, 128)


class Format(NamedTuple):
    """How a weight is quantized: the options of MLX's functions."""

    bits: int
    group_size: int


def format_of(weight: QuantizedWeight, in_features: int) -> Format | None:
    """How a weight of so many inputs is quantized; `None` if it is not one of them."""
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
    found = format_of(weight, x.shape[-1])
    if found is None:
        raise ValueError(
            "linear: x must have shape (..., I) for a quantized weight (O, I), got "
            f"{x.shape} and scales {weight.scales.shape}"
        )
    dtype = mx.result_type(x, weight.scales)
    packed, *others = weight
    x, scales, biases = (part.astype(dtype) for part in (x, *others))
    same = QuantizedWeight(packed, scales, biases)
    if is_transforming():  # MLX's kernel has no rule for `vmap`
        return x @ _dequantized(*same, found).T
    return multiply(x, same, found)


@replaceable
def multiply(x: Array, weight: QuantizedWeight, found: Format) -> Array:
    """`x @ weight.T`, of one dtype, by MLX's kernel."""
    bits, group_size = found
    return mx.quantized_matmul(x, *weight, True, group_size, bits)


def _dequantized(packed: Array, scales: Array, biases: Array, found: Format) -> Array:
    """The weight `(O, I)`, with gradients in scales and biases."""
    one, zero = mx.ones_like(scales), mx.zeros_like(scales)
    integers = mx.dequantize(packed, one, zero, found.group_size, found.bits)
    groups = integers.reshape(*scales.shape, found.group_size)
    weight: Array = groups * scales[..., None] + biases[..., None]
    return weight.reshape(integers.shape)


def dequantized_rows(weight: QuantizedWeight, x: Array, size: int) -> Array:
    """The rows of length `size` at the integers `x`, NaN where there is none."""
    packed, *others = weight
    rows = mx.take(packed, mx.clip(x, 0, len(packed) - 1), axis=0)
    scales, biases = (take_rows_or_nan(part, x) for part in others)
    found = format_of(weight, size)
    assert found is not None  # the layer has checked
    return mx.dequantize(rows, scales, biases, found.group_size, found.bits)


def quantize(weight: Array, bits: int, group_size: int) -> QuantizedWeight:
    """A weight `(O, I)`, `I` a multiple of `group_size`, in integers of `bits` bits."""
    return QuantizedWeight(*mx.quantize(weight, bits=bits, group_size=group_size))
