"""Products of linear layers on CPUs: large ones are divided among the cores."""

from collections.abc import Callable

import mlx.core as mx

from lucid_fn.cpu.parallel.gradient_order import comes_first
from lucid_fn.cpu.parallel.streams import concat_split, sum_split
from lucid_fn.cpu.small_products import by_rows
from lucid_fn.ops.linear import (
    Format,
    QuantizedWeight,
    forward,
    input_grad,
    product_of,
    quantized_matmul,
    weight_grad,
)
from lucid_fn.ops.seam import plain
from lucid_fn.types import Array

# Of a product that is divided among the cores by itself.
_LEAST = 1 << 26  # multiplications
_FEWEST_ROWS = _FEWEST_SUMMED = 128

_FEW_ROWS = 8  # of which the weight is more than they are


def product(x: Array, weight: Array) -> Array:
    """`ops.linear.product`, divided among the cores where it is large."""
    run = _PRODUCT.ordered if comes_first(weight, x) else _PRODUCT.forward
    return run(x, weight)


def _forward(x: Array, weight: Array) -> Array:
    if 0 < len(x) <= _FEW_ROWS:
        # The BLAS packs its second operand, here the smaller one. To pack the weight
        # takes several times as long as one row, as in decoding, is multiplied.
        return mx.contiguous(by_rows(weight, x.T).T)
    return _by_rows(lambda x: forward(x, weight), x, weight)


def _input_grad(g: Array, weight: Array) -> Array:
    return _by_rows(lambda g: input_grad(g, weight), g, weight)


def _weight_grad(x: Array, g: Array) -> Array:
    if not _is_large(len(x), x.size * g.shape[1]):
        return weight_grad(x, g)
    return sum_split(weight_grad, x, g)


def _by_rows(fn: Callable[[Array], Array], rows: Array, weight: Array) -> Array:
    n, summed = rows.shape
    # Sums of few numbers take as long to join as to compute.
    if summed < _FEWEST_SUMMED or not _is_large(n, n * weight.size):
        return fn(rows)
    return concat_split(fn, rows)


def _is_large(rows: int, multiplications: int) -> bool:
    """Whether a product outside of divided batches is worth dividing itself.

    The BLAS has one thread a product once streams keep the cores busy. One of 1024 x
    256 and 256 x 1024 takes 2.4 ms like that, 1.5 ms on the streams of two cores, and
    1.2 ms with two threads in a process that divides nothing.
    """
    return rows >= _FEWEST_ROWS and multiplications >= _LEAST


_PRODUCT = product_of(_forward, _input_grad, _weight_grad)


# ---- quantized weights ----

# MLX's kernel unpacks the weight once for each row.
_MOST_ROWS = 2


def quantized_product(x: Array, weight: QuantizedWeight, found: Format) -> Array:
    """`ops.linear.quantized_matmul`, which unpacks the weight once for many rows."""
    if x.size <= _MOST_ROWS * x.shape[-1]:
        with plain():
            return quantized_matmul(x, weight, found)
    return x @ mx.dequantize(*weight, found.group_size, found.bits).T
