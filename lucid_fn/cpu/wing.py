"""The table of CPU formulations, from which `ops/seam.py` replaces the plain ones."""

from collections.abc import Callable
from typing import Any

from lucid_fn import ops
from lucid_fn.cpu import (
    attention as cpu_attention,
    bias,
    concatenate,
    cross_entropy,
    interpolate,
    linear,
    pooling,
    softmax,
)
from lucid_fn.cpu.conv import choose
from lucid_fn.cpu.elementwise import activations, elementary
from lucid_fn.cpu.memory import broadcast
from lucid_fn.cpu.norm import batch_norm, group_norm, layer_norm
from lucid_fn.cpu.parallel.leaves import parts_of_leaves
from lucid_fn.cpu.parallel.split_batch import (
    distinct_shape_per_part,
    divide,
    join,
    map_examples,
)
from lucid_fn.cpu.parallel.wavefront import chunks_of_sequence, core_of
from lucid_fn.cpu.recurrent import run
from lucid_fn.cpu.runtime.kernel_header import precompile
from lucid_fn.ops.attention import attend
from lucid_fn.ops.bias import add_channels, sum_channels
from lucid_fn.ops.concatenation import joined
from lucid_fn.ops.conv import convolve
from lucid_fn.ops.cross_entropy import cross_entropy_of_labels
from lucid_fn.ops.elementwise import exp_of_negative, expm1_of_negative, log1pexp
from lucid_fn.ops.embedding import multiply_rows
from lucid_fn.ops.interpolate import combine, combine_grad
from lucid_fn.ops.linear import product, quantized_matmul
from lucid_fn.ops.norm import (
    channel_scale,
    normalize_channels,
    normalize_groups,
    normalize_rows,
    scale_rows,
)
from lucid_fn.ops.recurrent import run_steps
from lucid_fn.ops.softmax import log_softmax_along, logsumexp_along, softmax_along
from lucid_fn.ops.windows import max_of_windows, mean_of_windows

__all__ = [
    "FORMULATIONS",
    "chunks_of_sequence",
    "core_of",
    "distinct_shape_per_part",
    "divide",
    "join",
    "map_examples",
    "parts_of_leaves",
    "precompile",
]

FORMULATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    attend: cpu_attention.attend,
    multiply_rows: broadcast.multiply,
    run_steps: run.run_steps,
    add_channels: bias.add,
    sum_channels: bias.total,
    normalize_channels: batch_norm.batch_norm,
    channel_scale: batch_norm.scale,
    normalize_rows: layer_norm.layer_norm,
    scale_rows: layer_norm.rms_norm,
    normalize_groups: group_norm.group_norm,
    softmax_along: softmax.softmax,
    log_softmax_along: softmax.log_softmax,
    logsumexp_along: softmax.logsumexp,
    cross_entropy_of_labels: cross_entropy.cross_entropy,
    joined: concatenate.joined,
    convolve: choose.convolve,
    product: linear.product,
    quantized_matmul: linear.quantized_product,
    max_of_windows: pooling.max_of_windows,
    mean_of_windows: pooling.mean_of_windows,
    combine: interpolate.combine,
    combine_grad: interpolate.combine_grad,
    ops.tanh: elementary.tanh,
    ops.exp: elementary.exp,
    exp_of_negative: elementary.exp_of_negative,
    expm1_of_negative: elementary.expm1_of_negative,
    ops.sigmoid: elementary.sigmoid,
    log1pexp: elementary.softplus,
    ops.log_sigmoid: elementary.log_sigmoid,
    ops.erf: elementary.erf,
    ops.silu: activations.silu,
    ops.gelu: activations.gelu,
    ops.gelu_tanh: activations.gelu_tanh,
    ops.mish: activations.mish,
}
"""The CPU formulation of each operation, by its plain formulation."""
