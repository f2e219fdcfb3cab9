"""The `Initializer` type, fan-in and fan-out, and the gains of activations."""

import math
from collections.abc import Callable
from typing import TypeAlias

from lucid_fn.checks import check_number
from lucid_fn.types import Array, Key

Shape: TypeAlias = tuple[int, ...]
"""The shape of a weight, `(out, ..., in)`: outputs of the layer first, inputs last."""

Initializer: TypeAlias = Callable[[Key, Shape], Array]
"""`init(key, shape)` draws a float32 array of shape `(out, ..., in)` from a random key.

Layers take one as `weight_init` or `bias_init`.
"""

Fan: TypeAlias = Callable[[Shape], float]
"""From the shape of a weight to its fan: `fan_in`, `fan_out` or `fan_mean`."""

LINEAR_GAIN = 1.0
"""Gain for a layer without an activation after it."""

TANH_GAIN = 5 / 3
"""Gain for tanh: PyTorch's value."""

RELU_GAIN = math.sqrt(2)
"""Gain for ReLU, which halves the mean square."""

SELU_GAIN = 3 / 4
"""Gain for SELU: PyTorch's value."""


def leaky_relu_gain(negative_slope: float = 0.01) -> float:
    """`sqrt(2 / (1 + negative_slope^2))`, the gain for a leaky ReLU.

    Args:
        negative_slope: slope of the activation below zero.

    Source: He et al., 2015, https://arxiv.org/abs/1502.01852, eq. 15.

    Example:
        >>> from lucid_fn.nn import initializers
        >>> initializers.leaky_relu_gain(1.0)
        1.0
    """
    negative_slope = check_number("leaky_relu_gain", "negative_slope", negative_slope)
    return math.sqrt(2 / (1 + negative_slope**2))


def fans(shape: Shape) -> tuple[int, int]:
    """`(fan_in, fan_out)` of a weight `(out, ..., in)`.

    Args:
        shape: shape of the weight, `(out, ..., in)`.

    Raises:
        ValueError: if `shape` has fewer than two axes.

    Example:
        >>> from lucid_fn.nn import initializers
        >>> initializers.fans((16, 5, 5, 6))
        (150, 400)
    """
    if len(shape) < 2:
        raise ValueError(f"fans: shape must have at least two axes, got {shape}")
    return math.prod(shape[1:]), math.prod(shape[:-1])


def fan_in(shape: Shape) -> float:
    """The number of inputs of each output.

    Scaled by it, weights preserve the variance of activations from layer to layer.

    Args:
        shape: shape of the weight, `(out, ..., in)`.

    Example:
        >>> from lucid_fn.nn import initializers
        >>> initializers.fan_in((16, 5, 5, 6))
        150
    """
    return fans(shape)[0]


def fan_out(shape: Shape) -> float:
    """The number of outputs of each input.

    Scaled by it, weights preserve the variance of gradients from layer to layer.

    Args:
        shape: shape of the weight, `(out, ..., in)`.

    Example:
        >>> from lucid_fn.nn import initializers
        >>> initializers.fan_out((16, 5, 5, 6))
        400
    """
    return fans(shape)[1]


def fan_mean(shape: Shape) -> float:
    """The mean of `fan_in` and `fan_out`.

    Args:
        shape: shape of the weight, `(out, ..., in)`.

    Example:
        >>> from lucid_fn.nn import initializers
        >>> initializers.fan_mean((16, 5, 5, 6))
        275.0
    """
    return sum(fans(shape)) / 2
