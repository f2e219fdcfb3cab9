"""Computes gradients of params early, not at the end of the backward pass.

Only the optimizer reads the gradient of a weight, so MLX, which orders a graph from its
outputs, tends to compute those of all layers last and keeps all activations and their
gradients until then. Here a layer's weight gradient is computed before the backward
pass moves on. The peak memory of a ResNet-18 step of batch 128 falls from 2.24 to
1.25 GB.
"""

from lucid_fn.ops.seam import is_differentiated
from lucid_fn.types import Array

_MIN_SIZE = 1 << 18  # of an input for which the order is enforced


def weight_grad_first(weight: Array, x: Array) -> bool:
    """Whether to compute the gradient of `weight` before that of `x`.

    True if `weight` is differentiated for certain and `x` is large: this saves memory,
    and costs time (20 us in a step of LeNet-5).
    """
    return x.size >= _MIN_SIZE and is_differentiated(weight)
