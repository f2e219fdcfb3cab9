"""Losses: one value for each label or target; the mean is the caller's line.

`mx.mean(losses.mse(predictions, targets))` is PyTorch's `mse_loss`. A loss of single
elements has the shape of its targets; a loss over an axis of classes or features has
the shape less that last axis. Nothing is reduced further, weighted or masked: that is
arithmetic on the result. The one exception is `cross_entropy`, which is PyTorch's
function of that name, with its weights, smoothing and ignored labels, and returns their
mean.
"""

from lucid_fn.losses.classification import (
    cross_entropy,
    nll,
    soft_target_cross_entropy,
    softmax_cross_entropy,
)

__all__ = [
    "cross_entropy",
    "nll",
    "soft_target_cross_entropy",
    "softmax_cross_entropy",
]
