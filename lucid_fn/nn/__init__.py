"""Layers, and the combinators that make layers of layers."""

from lucid_fn.nn import initializers as initializers
from lucid_fn.nn.activations import relu as relu, tanh as tanh
from lucid_fn.nn.batch_norm import batch_norm as batch_norm
from lucid_fn.nn.batch_statistics import (
    bn_reestimate as bn_reestimate,
    fold_batch_norm as fold_batch_norm,
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
from lucid_fn.nn.layer import (
    ApplyFn as ApplyFn,
    InitFn as InitFn,
    Layer as Layer,
    lift as lift,
    parametric as parametric,
)
from lucid_fn.nn.linear import linear as linear
from lucid_fn.nn.pooling import (
    adaptive_avg_pool1d as adaptive_avg_pool1d,
    adaptive_avg_pool2d as adaptive_avg_pool2d,
    adaptive_max_pool1d as adaptive_max_pool1d,
    adaptive_max_pool2d as adaptive_max_pool2d,
    avg_pool1d as avg_pool1d,
    avg_pool2d as avg_pool2d,
    avg_pool3d as avg_pool3d,
    global_avg_pool2d as global_avg_pool2d,
    max_pool1d as max_pool1d,
    max_pool2d as max_pool2d,
    max_pool3d as max_pool3d,
)
from lucid_fn.nn.reshaping import flatten as flatten, identity as identity
from lucid_fn.nn.transposed_convolution import (
    conv_transpose1d as conv_transpose1d,
    conv_transpose2d as conv_transpose2d,
    conv_transpose3d as conv_transpose3d,
)
