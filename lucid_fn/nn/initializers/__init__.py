"""Initializers of parameters: functions of a key and a shape `(out, ..., in)`.

Those with hyper-parameters are made by a constructor, such as `normal(0.02)`; those
without are plain functions, such as `zeros`. Layers take them as `weight_init` and
`bias_init`.
"""

from lucid_fn.call_errors import guide
from lucid_fn.nn.initializers.distributions import (
    bias_by_fan_in,
    constant,
    kaiming_normal,
    kaiming_uniform,
    lecun_normal,
    lecun_uniform,
    normal,
    normal_fan_out,
    ones,
    scaled_normal,
    scaled_uniform,
    truncated_normal,
    uniform,
    uniform_by_fan_in,
    weight_and_bias,
    xavier_normal,
    xavier_uniform,
    zeros,
)
from lucid_fn.nn.initializers.fans import (
    LINEAR_GAIN,
    RELU_GAIN,
    SELU_GAIN,
    TANH_GAIN,
    Fan,
    Initializer,
    Shape,
    fan_in,
    fan_mean,
    fan_out,
    fans,
    leaky_relu_gain,
)
from lucid_fn.nn.initializers.matrices import identity, orthogonal

__all__ = [
    "LINEAR_GAIN",
    "RELU_GAIN",
    "SELU_GAIN",
    "TANH_GAIN",
    "Fan",
    "Initializer",
    "Shape",
    "bias_by_fan_in",
    "constant",
    "fan_in",
    "fan_mean",
    "fan_out",
    "fans",
    "identity",
    "kaiming_normal",
    "kaiming_uniform",
    "leaky_relu_gain",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "normal_fan_out",
    "ones",
    "orthogonal",
    "scaled_normal",
    "scaled_uniform",
    "truncated_normal",
    "uniform",
    "uniform_by_fan_in",
    "weight_and_bias",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

guide(globals(), "nn.initializers")
