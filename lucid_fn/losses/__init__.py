"""Losses: one value for each label or target; the mean is the caller's line.

`mx.mean(losses.mse(predictions, targets))` is PyTorch's `mse_loss`. A loss of single
elements has the shape of its targets; a loss over an axis of classes, features or time
has the shape less that axis. Nothing is reduced further, weighted or masked: that is
arithmetic on the result. The one exception is `cross_entropy`, which is PyTorch's
function of that name, with its weights, smoothing and ignored labels, and returns their
mean.

Derivatives are finite wherever the loss is, corners included, and can be derived again.
"""

from lucid_fn.losses.alignment import ctc
from lucid_fn.losses.binary import (
    binary_cross_entropy,
    dice,
    focal,
    sigmoid_binary_cross_entropy,
)
from lucid_fn.losses.classification import (
    cross_entropy,
    nll,
    soft_target_cross_entropy,
    softmax_cross_entropy,
)
from lucid_fn.losses.embedding import cosine_embedding, triplet_margin
from lucid_fn.losses.likelihood import gaussian_nll, kl_divergence, poisson_nll
from lucid_fn.losses.margin import (
    hinge,
    hinge_embedding,
    margin_ranking,
    multi_margin,
)
from lucid_fn.losses.regression import huber, l1, log_cosh, mse, smooth_l1

__all__ = [
    "binary_cross_entropy",
    "cosine_embedding",
    "cross_entropy",
    "ctc",
    "dice",
    "focal",
    "gaussian_nll",
    "hinge",
    "hinge_embedding",
    "huber",
    "kl_divergence",
    "l1",
    "log_cosh",
    "margin_ranking",
    "mse",
    "multi_margin",
    "nll",
    "poisson_nll",
    "sigmoid_binary_cross_entropy",
    "smooth_l1",
    "soft_target_cross_entropy",
    "softmax_cross_entropy",
    "triplet_margin",
]
