"""Array functions with their own derivatives, fast on every device."""

from typing import TYPE_CHECKING

from lucid_fn.call_errors import guide
from lucid_fn.ops.activations import (
    celu,
    elu,
    gelu,
    gelu_sigmoid,
    gelu_tanh,
    glu,
    hard_shrink,
    hard_sigmoid,
    hard_swish,
    hard_tanh,
    leaky_relu,
    mish,
    prelu,
    relu,
    relu6,
    relu_squared,
    selu,
    silu,
    soft_shrink,
    softsign,
    step,
    tanh_shrink,
)
from lucid_fn.ops.attention import dot_product_attention, dot_product_attention_weights
from lucid_fn.ops.concatenation import concatenate
from lucid_fn.ops.conv import conv2d
from lucid_fn.ops.cross_entropy import softmax_cross_entropy
from lucid_fn.ops.elementwise import erf, exp, log_sigmoid, sigmoid, softplus, tanh
from lucid_fn.ops.grid_sampling import affine_grid, grid_sample
from lucid_fn.ops.linear import QuantizedWeight, linear
from lucid_fn.ops.norm import (
    batch_norm,
    batch_norm_eval,
    group_norm,
    layer_norm,
    rms_norm,
)
from lucid_fn.ops.pooling import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    global_avg_pool1d,
    global_avg_pool2d,
    global_avg_pool3d,
    global_max_pool1d,
    global_max_pool2d,
    global_max_pool3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
    max_unpool1d,
    max_unpool2d,
    max_unpool3d,
)
from lucid_fn.ops.recurrent import RecurrentWeights, gru, lstm, rnn
from lucid_fn.ops.reductions import mean, sum
from lucid_fn.ops.seam import plain
from lucid_fn.ops.softmax import log_softmax, logsumexp, softmax, softmin
from lucid_fn.ops.unfolding import fold, unfold
from lucid_fn.ops.vectors import cosine_similarity, normalize, pairwise_distance

if TYPE_CHECKING:
    from lucid_fn.ops import linalg  # imported at its first use

__all__ = [
    "QuantizedWeight",
    "RecurrentWeights",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "affine_grid",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "batch_norm_eval",
    "celu",
    "concatenate",
    "conv2d",
    "cosine_similarity",
    "dot_product_attention",
    "dot_product_attention_weights",
    "elu",
    "erf",
    "exp",
    "fold",
    "gelu",
    "gelu_sigmoid",
    "gelu_tanh",
    "global_avg_pool1d",
    "global_avg_pool2d",
    "global_avg_pool3d",
    "global_max_pool1d",
    "global_max_pool2d",
    "global_max_pool3d",
    "glu",
    "grid_sample",
    "group_norm",
    "gru",
    "hard_shrink",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "layer_norm",
    "leaky_relu",
    "linalg",
    "linear",
    "log_sigmoid",
    "log_softmax",
    "logsumexp",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "lstm",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "mean",
    "mish",
    "normalize",
    "pairwise_distance",
    "plain",
    "prelu",
    "relu",
    "relu6",
    "relu_squared",
    "rms_norm",
    "rnn",
    "selu",
    "sigmoid",
    "silu",
    "soft_shrink",
    "softmax",
    "softmax_cross_entropy",
    "softmin",
    "softplus",
    "softsign",
    "step",
    "sum",
    "tanh",
    "tanh_shrink",
    "unfold",
]

guide(globals(), "ops", later=("linalg",))
