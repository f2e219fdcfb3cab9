"""Products with quantized weights on CPUs."""

import mlx.core as mx

from lucid_fn.ops.quantized import Format, QuantizedWeight, multiply
from lucid_fn.ops.seam import plain
from lucid_fn.types import Array

# MLX's kernel unpacks the weight once for each row.
_MOST_ROWS = 2


def product(x: Array, weight: QuantizedWeight, found: Format) -> Array:
    """`ops.quantized.multiply`, which unpacks the weight once where rows are many."""
    if x.size <= _MOST_ROWS * x.shape[-1]:
        with plain():
            return multiply(x, weight, found)
    return x @ mx.dequantize(*weight, found.group_size, found.bits).T
