"""Matrix products of linear layers on CPUs, divided among cores if they are large."""

from collections.abc import Callable

import mlx.core as mx

from lucid_fn.cpu.parallel.gradient_order import weight_grad_first
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

# Smallest product that is divided among the cores.
_MIN_MULTIPLICATIONS = 1 << 26
_MIN_ROWS = _MIN_SUMMED = 128

_FEW_ROWS = 8  # for which packing the weight takes longer than the product


def product(x: Array, weight: Array) -> Array:
    """`ops.linear.product`, divided among the cores where it is large."""
    run = _PRODUCT.ordered if weight_grad_first(weight, x) else _PRODUCT.forward
    return run(x, weight)


def _forward(x: Array, weight: Array) -> Array:
    if 0 < len(x) <= _FEW_ROWS:
        # The BLAS packs its second operand: let that be x. Packing the weight takes
        # several times as long as the product with one row, as in decoding.
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
    # Short sums take as long to join as to compute.
    if summed < _MIN_SUMMED or not _is_large(n, n * weight.size):
        return fn(rows)
    return concat_split(fn, rows)


def _is_large(rows: int, multiplications: int) -> bool:
    """Whether a product outside divided batches is large enough to be divided.

    Once streams keep the cores busy, the BLAS uses one thread for each product. One of
    1024 x 256 and 256 x 1024 then takes 2.4 ms whole and 1.5 ms on the streams of two
    cores; 1.2 ms with two BLAS threads in a process that divides nothing.
    """
    return rows >= _MIN_ROWS and multiplications >= _MIN_MULTIPLICATIONS


_PRODUCT = product_of(_forward, _input_grad, _weight_grad)


# ---- quantized weights ----

# MLX's kernel dequantizes the weight for every row.
_MAX_ROWS_OF_KERNEL = 2


def quantized_product(x: Array, weight: QuantizedWeight, found: Format) -> Array:
    """`ops.linear.quantized_matmul`, dequantizing once for many rows."""
    if x.size <= _MAX_ROWS_OF_KERNEL * x.shape[-1]:
        with plain():
            return quantized_matmul(x, weight, found)
    return x @ mx.dequantize(*weight, found.group_size, found.bits).T
