"""Array functions with their own derivatives, fast on every device."""

from lucid_fn.ops.adaptive_pool import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    global_avg_pool2d,
)
from lucid_fn.ops.conv import conv2d
from lucid_fn.ops.cross_entropy import softmax_cross_entropy
from lucid_fn.ops.elementary import tanh
from lucid_fn.ops.formulation import plain
from lucid_fn.ops.norm import batch_norm, batch_norm_eval
from lucid_fn.ops.pool import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "batch_norm_eval",
    "conv2d",
    "global_avg_pool2d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "plain",
    "softmax_cross_entropy",
    "tanh",
]
