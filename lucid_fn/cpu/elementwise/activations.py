"""Activations for float32 on CPUs; `elementary` explains the technique."""

import math

import mlx.core as mx

from lucid_fn.cpu.elementwise.elementary import erf, exp_minus_abs, sigmoid, tanh
from lucid_fn.types import Array


def silu(x: Array) -> Array:
    """`x * sigmoid(x)`."""
    return x * sigmoid(x)


def gelu(x: Array) -> Array:
    """`x / 2 * (1 + erf(x / sqrt(2)))`."""
    return 0.5 * x * (1.0 + mx.contiguous(erf(x / math.sqrt(2))))


def gelu_tanh(x: Array) -> Array:
    """`x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3)))`."""
    z = mx.contiguous(math.sqrt(2 / math.pi) * (x * (1.0 + 0.044715 * (x * x))))
    return 0.5 * x * (1.0 + mx.contiguous(tanh(z)))


def mish(x: Array) -> Array:
    """`x * tanh(log(1 + exp(x)))`."""
    # tanh(log(1 + exp(x))) = n / (n + 2) with n = exp(x) * (exp(x) + 2), multiplied by
    # exp(-2x) where that is small.
    e = exp_minus_abs(x)
    a = mx.contiguous(mx.where(x < 0, e, 1.0))
    b = mx.contiguous((1.0 + e) - a)
    n = a * (a + 2.0 * b)
    return x * (n / (n + 2.0 * (b * b)))
