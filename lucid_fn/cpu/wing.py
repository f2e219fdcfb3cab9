"""All that the CPU wing does, in one place: `lucid_fn.ops.seam` reads it."""

from collections.abc import Callable
from typing import Any

from lucid_fn.cpu import attention as cpu_attention
from lucid_fn.cpu.conv import choose
from lucid_fn.cpu.memory import broadcast
from lucid_fn.cpu.parallel.leaves import parts_of_leaves
from lucid_fn.cpu.parallel.split_batch import (
    distinct_shape_per_part,
    divide,
    join,
    map_examples,
)
from lucid_fn.cpu.recurrent import run
from lucid_fn.cpu.runtime.kernel_header import precompile
from lucid_fn.ops import attention, conv, embedding, recurrent

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
    attention.attend: cpu_attention.attend,
    conv.convolve: choose.convolve,
    embedding.multiply_rows: broadcast.multiply,
    recurrent.run_steps: run.run_steps,
}
"""What runs on CPUs in the place of the plain formulation of an operation."""
