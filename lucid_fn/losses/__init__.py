"""Losses, with PyTorch's `reduction=` "none", "mean" or "sum".

`losses.mse(predictions, targets, reduction="mean")` is PyTorch's `mse_loss`. By default
a loss returns one value for each target: an elementwise loss has the shape of its
targets, and a loss over an axis of classes, features or time lacks that axis. The
exception is `cross_entropy`, which is PyTorch's function of that name and returns the
mean by default.

Means are PyTorch's: `cross_entropy` and `nll` divide by the sum of the weights,
`kl_divergence` by the size of the batch, `ctc` by the lengths of the labels first. They
are exact to 1e-6 over any number of values, which `mx.mean` is not: see `ops.mean`.
Half precision is computed in float32, and the result has the dtype of the input, unless
a loss says otherwise.

Derivatives, also those at kinks, are finite wherever the loss is, if they are in the
range of the dtype. They can be differentiated again.
"""

from lucid_fn.call_errors import guide
from lucid_fn.losses.base import Reduction
from lucid_fn.losses.binary_cross_entropy import (
    binary_cross_entropy,
    sigmoid_binary_cross_entropy,
)
from lucid_fn.losses.cross_entropy import (
    cross_entropy,
    soft_target_cross_entropy,
    softmax_cross_entropy,
)
from lucid_fn.losses.ctc import ctc
from lucid_fn.losses.dice import dice
from lucid_fn.losses.focal import focal
from lucid_fn.losses.kl_divergence import kl_divergence
from lucid_fn.losses.margin import hinge, hinge_embedding, margin_ranking, multi_margin
from lucid_fn.losses.metric_learning import cosine_embedding, triplet_margin
from lucid_fn.losses.nll import gaussian_nll, nll, poisson_nll
from lucid_fn.losses.regression import huber, l1, log_cosh, mse, smooth_l1
from lucid_fn.losses.tversky import focal_tversky

__all__ = [
    "Reduction",
    "binary_cross_entropy",
    "cosine_embedding",
    "cross_entropy",
    "ctc",
    "dice",
    "focal",
    "focal_tversky",
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

guide(globals(), "losses")
