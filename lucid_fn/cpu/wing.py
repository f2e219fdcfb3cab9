"""All that the CPU wing does, in one place: `lucid_fn.ops.seam` reads it."""

from collections.abc import Callable
from typing import Any

from lucid_fn import ops
from lucid_fn.cpu import interpolate, linear, pooling
from lucid_fn.cpu.conv import choose
from lucid_fn.cpu.elementwise import activations, elementary
from lucid_fn.cpu.parallel.leaves import parts_of_leaves
from lucid_fn.cpu.parallel.split_batch import (
    distinct_shape_per_part,
    divide,
    join,
    map_examples,
)
from lucid_fn.cpu.runtime.kernel_header import precompile
from lucid_fn.ops.conv import convolve
from lucid_fn.ops.elementary import exp_of_negative, expm1_of_negative
from lucid_fn.ops.interpolate import combine, combine_grad
from lucid_fn.ops.linear import product
from lucid_fn.ops.pooling import max_of_windows, mean_of_windows

__all__ = [
    "FORMULATIONS",
    "distinct_shape_per_part",
    "divide",
    "join",
    "map_examples",
    "parts_of_leaves",
    "precompile",
]

FORMULATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    convolve: choose.convolve,
    product: linear.product,
    max_of_windows: pooling.max_of_windows,
    mean_of_windows: pooling.mean_of_windows,
    combine: interpolate.combine,
    combine_grad: interpolate.combine_grad,
    ops.tanh: elementary.tanh,
    ops.exp: elementary.exp,
    exp_of_negative: elementary.exp_of_negative,
    expm1_of_negative: elementary.expm1_of_negative,
    ops.sigmoid: elementary.sigmoid,
    ops.softplus: elementary.softplus,
    ops.log_sigmoid: elementary.log_sigmoid,
    ops.erf: elementary.erf,
    ops.silu: activations.silu,
    ops.gelu: activations.gelu,
    ops.gelu_tanh: activations.gelu_tanh,
    ops.mish: activations.mish,
}
"""What runs on CPUs in the place of the plain formulation of an operation."""
