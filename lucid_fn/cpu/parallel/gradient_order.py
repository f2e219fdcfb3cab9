"""Computes gradients of params early, not at the end of the backward pass.

A gradient in a parameter is needed by the optimizer only, so MLX, which orders a graph
from its outputs, likes to compute those of all layers last, and keeps the activations
and gradients of all layers until then. Here the backward pass goes on to the next layer
when that of the layer before is complete. In a ResNet-18 step of batch 128 that makes
1.25 GB of memory of 2.24.
"""

from lucid_fn.ops.seam import is_differentiated
from lucid_fn.types import Array

_LEAST = 1 << 18  # numbers of an array that are worth an order


def comes_first(weight: Array, x: Array) -> bool:
    """Whether the gradient in `weight` of a function of `x` comes before that in `x`.

    Where it is wanted for certain, and `x` large: it is memory that this saves, and
    time that it costs (20 us in a step of LeNet-5).
    """
    return x.size >= _LEAST and is_differentiated(weight)
