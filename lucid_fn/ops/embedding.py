"""Embedding lookup: rows of a matrix by index."""

import mlx.core as mx

from lucid_fn.numerics import is_valid_label
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.linear import QuantizedWeight, format_of
from lucid_fn.ops.seam import replaceable
from lucid_fn.types import Array


def take_rows_or_nan(weight: Array, x: Array) -> Array:
    """The rows of `weight` at the indices `x`; NaN for indices out of range.

    MLX checks no index, and would read and write out of bounds.
    """
    valid = is_valid_label(x, len(weight))
    take = _take_half if weight.dtype.size < 4 else _take
    rows = take(weight, mx.where(valid, x, 0))
    factors = mx.where(valid, 1.0, mx.nan).astype(weight.dtype)
    return multiply_rows(rows, factors[..., None])


@replaceable
def multiply_rows(rows: Array, factors: Array) -> Array:
    """`rows * factors`, with one factor for each row."""
    return rows * factors


def _take(weight: Array, index: Array) -> Array:
    return mx.take(weight, index, axis=0)


_take_half = custom_function(_take)


@_take_half.vjp
def _(primals: tuple[Array, Array], g: Array, _: Array) -> tuple[Array, Array]:
    """Sums in float32: in bfloat16 a sum of ones stays at 256."""
    weight, index = primals
    total = mx.zeros(weight.shape).at[index].add(g.astype(mx.float32))
    return total.astype(weight.dtype), mx.zeros_like(index)


@_take_half.jvp
def _(primals: tuple[Array, Array], tangents: tuple[Array | None, ...]) -> Array:
    weight, index = primals
    dweight = tangents[0]
    return _take(mx.zeros_like(weight) if dweight is None else dweight, index)


def dequantized_rows(weight: QuantizedWeight, x: Array, size: int) -> Array:
    """`take_rows_or_nan` of a quantized weight with rows of length `size`."""
    packed, *others = weight
    rows = mx.take(packed, mx.clip(x, 0, len(packed) - 1), axis=0)
    scales, biases = (take_rows_or_nan(part, x) for part in others)
    format_ = format_of(weight, size)
    assert format_ is not None  # the layer has checked
    return mx.dequantize(rows, scales, biases, format_.group_size, format_.bits)
