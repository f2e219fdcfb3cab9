"""Layers, and the combinators that make layers of layers."""

from lucid_fn.nn import initializers as initializers
from lucid_fn.nn.activations import prelu as prelu
from lucid_fn.nn.adaptive_pooling import (
    adaptive_avg_pool1d as adaptive_avg_pool1d,
    adaptive_avg_pool2d as adaptive_avg_pool2d,
    adaptive_avg_pool3d as adaptive_avg_pool3d,
    adaptive_max_pool1d as adaptive_max_pool1d,
    adaptive_max_pool2d as adaptive_max_pool2d,
    adaptive_max_pool3d as adaptive_max_pool3d,
)
from lucid_fn.nn.alpha_dropout import (
    alpha_dropout as alpha_dropout,
    feature_alpha_dropout as feature_alpha_dropout,
)
from lucid_fn.nn.attention import (
    dot_product_attention as dot_product_attention,
    dot_product_attention_weights as dot_product_attention_weights,
)
from lucid_fn.nn.batch_norm import batch_norm as batch_norm
from lucid_fn.nn.batch_statistics import (
    bn_reestimate as bn_reestimate,
    fold_batch_norm as fold_batch_norm,
)
from lucid_fn.nn.bilinear import (
    bilinear as bilinear,
)
from lucid_fn.nn.cached_attention import cached_attention as cached_attention
from lucid_fn.nn.carry import (
    LSTMCarry as LSTMCarry,
    RecurrentInputs as RecurrentInputs,
    SequenceAndCarry as SequenceAndCarry,
)
from lucid_fn.nn.combinators import (
    compose as compose,
    frozen as frozen,
    residual as residual,
    serial as serial,
)
from lucid_fn.nn.convolution import conv1d as conv1d, conv2d as conv2d, conv3d as conv3d
from lucid_fn.nn.dropout import (
    drop_path as drop_path,
    dropout as dropout,
    dropout1d as dropout1d,
    dropout2d as dropout2d,
    dropout3d as dropout3d,
)
from lucid_fn.nn.embedding import (
    embedding as embedding,
    tied_embedding as tied_embedding,
)
from lucid_fn.nn.global_pooling import (
    global_avg_pool1d as global_avg_pool1d,
    global_avg_pool2d as global_avg_pool2d,
    global_avg_pool3d as global_avg_pool3d,
    global_max_pool1d as global_max_pool1d,
    global_max_pool2d as global_max_pool2d,
    global_max_pool3d as global_max_pool3d,
)
from lucid_fn.nn.layer import (
    ApplyFn as ApplyFn,
    InitFn as InitFn,
    Layer as Layer,
    lift as lift,
    parametric as parametric,
)
from lucid_fn.nn.linear import linear as linear
from lucid_fn.nn.local_response_norm import (
    local_response_norm as local_response_norm,
)
from lucid_fn.nn.multi_head_attention import (
    AttentionInputs as AttentionInputs,
    AttentionOutput as AttentionOutput,
    multi_head_attention as multi_head_attention,
)
from lucid_fn.nn.normalization import (
    group_norm as group_norm,
    instance_norm as instance_norm,
    layer_norm as layer_norm,
    rms_norm as rms_norm,
)
from lucid_fn.nn.padding import (
    circular_pad as circular_pad,
    constant_pad as constant_pad,
    reflect_pad as reflect_pad,
    replicate_pad as replicate_pad,
)
from lucid_fn.nn.pooling import (
    avg_pool1d as avg_pool1d,
    avg_pool2d as avg_pool2d,
    avg_pool3d as avg_pool3d,
    max_pool1d as max_pool1d,
    max_pool2d as max_pool2d,
    max_pool3d as max_pool3d,
)
from lucid_fn.nn.positions import (
    alibi_bias as alibi_bias,
    learned_positions as learned_positions,
    positional_encoding as positional_encoding,
    rotary_positions as rotary_positions,
    sinusoidal_positions as sinusoidal_positions,
)
from lucid_fn.nn.recurrent import gru as gru, lstm as lstm, rnn as rnn
from lucid_fn.nn.recurrent_cells import (
    gru_cell as gru_cell,
    lstm_cell as lstm_cell,
    rnn_cell as rnn_cell,
)
from lucid_fn.nn.reshaping import (
    flatten as flatten,
    identity as identity,
    unflatten as unflatten,
)
from lucid_fn.nn.scan import scan as scan
from lucid_fn.nn.shuffling import (
    channel_shuffle as channel_shuffle,
    pixel_shuffle as pixel_shuffle,
    pixel_unshuffle as pixel_unshuffle,
)
from lucid_fn.nn.spectral_norm import (
    spectral_norm as spectral_norm,
)
from lucid_fn.nn.summary import (
    Summary as Summary,
    SummaryRow as SummaryRow,
    summary as summary,
)
from lucid_fn.nn.transformer import (
    DecoderInputs as DecoderInputs,
    EncoderInputs as EncoderInputs,
    transformer_decoder_layer as transformer_decoder_layer,
    transformer_encoder_layer as transformer_encoder_layer,
)
from lucid_fn.nn.transformer_stacks import (
    transformer_decoder as transformer_decoder,
    transformer_encoder as transformer_encoder,
)
from lucid_fn.nn.transposed_convolution import (
    conv_transpose1d as conv_transpose1d,
    conv_transpose2d as conv_transpose2d,
    conv_transpose3d as conv_transpose3d,
)
from lucid_fn.nn.upsampling import (
    upsample_cubic as upsample_cubic,
    upsample_linear as upsample_linear,
    upsample_nearest as upsample_nearest,
)
from lucid_fn.nn.wrappers import (
    Tapped as Tapped,
    checkpointed as checkpointed,
    parallel as parallel,
    repeat as repeat,
    tap as tap,
    weight_norm as weight_norm,
)
from lucid_fn.ops import (
    celu as celu,
    elu as elu,
    gelu as gelu,
    gelu_sigmoid as gelu_sigmoid,
    gelu_tanh as gelu_tanh,
    glu as glu,
    hard_shrink as hard_shrink,
    hard_sigmoid as hard_sigmoid,
    hard_swish as hard_swish,
    hard_tanh as hard_tanh,
    leaky_relu as leaky_relu,
    log_sigmoid as log_sigmoid,
    log_softmax as log_softmax,
    mish as mish,
    relu as relu,
    relu6 as relu6,
    relu_squared as relu_squared,
    selu as selu,
    sigmoid as sigmoid,
    silu as silu,
    soft_shrink as soft_shrink,
    softmax as softmax,
    softmin as softmin,
    softplus as softplus,
    softsign as softsign,
    step as step,
    tanh as tanh,
    tanh_shrink as tanh_shrink,
)
