"""Layers, and the combinators that make layers of layers."""

from lucid_fn.nn import initializers
from lucid_fn.nn.combinators import compose, frozen, residual, serial
from lucid_fn.nn.convolution import conv2d
from lucid_fn.nn.dropout import dropout
from lucid_fn.nn.layer import ApplyFn, InitFn, Layer, lift, parametric
from lucid_fn.nn.linear import linear
from lucid_fn.nn.reshaping import flatten, identity

__all__ = [
    "ApplyFn",
    "InitFn",
    "Layer",
    "compose",
    "conv2d",
    "dropout",
    "flatten",
    "frozen",
    "identity",
    "initializers",
    "lift",
    "linear",
    "parametric",
    "residual",
    "serial",
]
