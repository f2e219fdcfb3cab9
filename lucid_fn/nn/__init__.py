"""Layers, and the combinators that make layers of layers."""

from lucid_fn.nn import initializers
from lucid_fn.nn.activations import relu, tanh
from lucid_fn.nn.combinators import compose, frozen, residual, serial
from lucid_fn.nn.convolution import conv2d
from lucid_fn.nn.dropout import dropout
from lucid_fn.nn.layer import ApplyFn, InitFn, Layer, lift, parametric
from lucid_fn.nn.linear import linear
from lucid_fn.nn.normalization import batch_norm
from lucid_fn.nn.pooling import avg_pool2d, global_avg_pool2d, max_pool2d
from lucid_fn.nn.reshaping import flatten, identity

__all__ = [
    "ApplyFn",
    "InitFn",
    "Layer",
    "avg_pool2d",
    "batch_norm",
    "compose",
    "conv2d",
    "dropout",
    "flatten",
    "frozen",
    "global_avg_pool2d",
    "identity",
    "initializers",
    "lift",
    "linear",
    "max_pool2d",
    "parametric",
    "relu",
    "residual",
    "serial",
    "tanh",
]
