"""Layers, and the combinators that make layers of layers."""

from lucid_fn.call_errors import guide
from lucid_fn.nn import initializers
from lucid_fn.nn.activations import prelu, rrelu
from lucid_fn.nn.attention.cached_attention import cached_attention
from lucid_fn.nn.attention.multi_head_attention import (
    AttentionInputs,
    AttentionOutput,
    multi_head_attention,
)
from lucid_fn.nn.attention.positions import (
    alibi_bias,
    learned_positions,
    positional_encoding,
    rotary_positions,
    sinusoidal_positions,
)
from lucid_fn.nn.attention.transformer import (
    DecoderInputs,
    EncoderInputs,
    transformer_decoder_layer,
    transformer_encoder_layer,
)
from lucid_fn.nn.attention.transformer_stacks import (
    transformer_decoder,
    transformer_encoder,
)
from lucid_fn.nn.conv.conv import conv1d, conv2d, conv3d
from lucid_fn.nn.conv.conv_transpose import (
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)
from lucid_fn.nn.core.combinators import identity, parallel, repeat, residual, serial
from lucid_fn.nn.core.compose import compose
from lucid_fn.nn.core.layer import ApplyFn, InitFn, Layer, finish
from lucid_fn.nn.core.lift import lift, parametric
from lucid_fn.nn.core.summary import Summary, SummaryRow, summary
from lucid_fn.nn.core.wrappers import Tapped, checkpointed, frozen, mixed_precision, tap
from lucid_fn.nn.dropout.alpha_dropout import alpha_dropout, feature_alpha_dropout
from lucid_fn.nn.dropout.dropout import (
    drop_path,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
)
from lucid_fn.nn.embedding import embedding, embedding_bag, tied_embedding
from lucid_fn.nn.linear import bilinear, linear
from lucid_fn.nn.lora import lora, merge_lora
from lucid_fn.nn.norm.batch_norm import batch_norm
from lucid_fn.nn.norm.batch_renorm import batch_renorm
from lucid_fn.nn.norm.group_norm import group_norm
from lucid_fn.nn.norm.instance_norm import instance_norm
from lucid_fn.nn.norm.layer_norm import layer_norm, rms_norm
from lucid_fn.nn.norm.local_response_norm import local_response_norm
from lucid_fn.nn.norm.spectral_norm import spectral_norm
from lucid_fn.nn.norm.trained_batch_norm import (
    fold_batch_norm,
    freeze_batch_norm,
    update_batch_norm,
)
from lucid_fn.nn.norm.weight_norm import weight_norm
from lucid_fn.nn.pooling.adaptive_pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
)
from lucid_fn.nn.pooling.lp_pooling import lp_pool1d, lp_pool2d, lp_pool3d
from lucid_fn.nn.pooling.max_unpooling import max_unpool1d, max_unpool2d, max_unpool3d
from lucid_fn.nn.pooling.pooling import (
    MaxPoolOutput,
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from lucid_fn.nn.quantize import quantize
from lucid_fn.nn.recurrent.carry import LSTMCarry, RecurrentInputs, SequenceAndCarry
from lucid_fn.nn.recurrent.cells import gru_cell, lstm_cell, rnn_cell
from lucid_fn.nn.recurrent.layers import gru, lstm, rnn
from lucid_fn.nn.recurrent.scan import scan
from lucid_fn.nn.shape.padding import (
    circular_pad,
    constant_pad,
    reflect_pad,
    replicate_pad,
)
from lucid_fn.nn.shape.reshaping import flatten, unflatten
from lucid_fn.nn.shape.shuffling import channel_shuffle, pixel_shuffle, pixel_unshuffle
from lucid_fn.nn.shape.upsampling import (
    upsample_cubic,
    upsample_linear,
    upsample_nearest,
)
from lucid_fn.nn.tensor_parallel import (
    column_parallel_linear,
    row_parallel_linear,
    shard_params,
    unshard_params,
)
from lucid_fn.ops import (
    celu,
    elu,
    gelu,
    gelu_sigmoid,
    gelu_tanh,
    global_avg_pool1d,
    global_avg_pool2d,
    global_avg_pool3d,
    global_max_pool1d,
    global_max_pool2d,
    global_max_pool3d,
    glu,
    hard_shrink,
    hard_sigmoid,
    hard_swish,
    hard_tanh,
    leaky_relu,
    log_sigmoid,
    log_softmax,
    mish,
    relu,
    relu6,
    relu_squared,
    selu,
    sigmoid,
    silu,
    soft_shrink,
    softmax,
    softmin,
    softplus,
    softsign,
    step,
    tanh,
    tanh_shrink,
)
from lucid_fn.ops.attention import dot_product_attention, dot_product_attention_weights

__all__ = [
    "ApplyFn",
    "AttentionInputs",
    "AttentionOutput",
    "DecoderInputs",
    "EncoderInputs",
    "InitFn",
    "LSTMCarry",
    "Layer",
    "MaxPoolOutput",
    "RecurrentInputs",
    "SequenceAndCarry",
    "Summary",
    "SummaryRow",
    "Tapped",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "alibi_bias",
    "alpha_dropout",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "batch_renorm",
    "bilinear",
    "cached_attention",
    "celu",
    "channel_shuffle",
    "checkpointed",
    "circular_pad",
    "column_parallel_linear",
    "compose",
    "constant_pad",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "dot_product_attention",
    "dot_product_attention_weights",
    "drop_path",
    "dropout",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "elu",
    "embedding",
    "embedding_bag",
    "feature_alpha_dropout",
    "flatten",
    "fold_batch_norm",
    "freeze_batch_norm",
    "frozen",
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
    "group_norm",
    "gru",
    "gru_cell",
    "hard_shrink",
    "hard_sigmoid",
    "hard_swish",
    "hard_tanh",
    "identity",
    "initializers",
    "instance_norm",
    "layer_norm",
    "leaky_relu",
    "learned_positions",
    "lift",
    "linear",
    "local_response_norm",
    "log_sigmoid",
    "log_softmax",
    "lora",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "lstm",
    "lstm_cell",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "merge_lora",
    "mish",
    "mixed_precision",
    "multi_head_attention",
    "parallel",
    "parametric",
    "pixel_shuffle",
    "pixel_unshuffle",
    "positional_encoding",
    "prelu",
    "quantize",
    "reflect_pad",
    "relu",
    "relu6",
    "relu_squared",
    "repeat",
    "replicate_pad",
    "residual",
    "rms_norm",
    "rnn",
    "rnn_cell",
    "rotary_positions",
    "row_parallel_linear",
    "rrelu",
    "scan",
    "selu",
    "serial",
    "shard_params",
    "sigmoid",
    "silu",
    "sinusoidal_positions",
    "soft_shrink",
    "softmax",
    "softmin",
    "softplus",
    "softsign",
    "spectral_norm",
    "step",
    "summary",
    "tanh",
    "tanh_shrink",
    "tap",
    "tied_embedding",
    "transformer_decoder",
    "transformer_decoder_layer",
    "transformer_encoder",
    "transformer_encoder_layer",
    "unflatten",
    "unshard_params",
    "update_batch_norm",
    "upsample_cubic",
    "upsample_linear",
    "upsample_nearest",
    "weight_norm",
]

guide(globals(), "nn", on_result=finish)
