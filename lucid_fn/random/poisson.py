"""Draws from the Poisson distribution.

Candidates that may be rejected are drawn a fixed number at once, so that drawing
compiles and vectorizes. One of 1e9 draws has none that is accepted, and gets a value
near the middle of the distribution.
"""

import math
from collections.abc import Sequence

import mlx.core as mx

from lucid_fn.random.checks import (
    check_dtype,
    check_key,
    shape_or_that_of,
    to_parameter,
)
from lucid_fn.random.exponential import first_accepted
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key

_CANDIDATES = 12  # of which each is accepted with a probability above 0.85
_FEW = 10.0  # a rate below which the probabilities of a draw are added up
_MOST_OF_FEW = 48  # a draw at such a rate is larger with a probability of 1e-17


def poisson(
    key: Key,
    lam: float | Array,
    shape: Sequence[int] | None = None,
    dtype: mx.Dtype = mx.int32,
) -> Array:
    """Draws from the Poisson distribution, `P(k) = lam^k exp(-lam) / k!`.

    Args:
        key: a key.
        lam: rate, at least 0; an array gives -1 where it is negative or NaN.
        shape: the shape of the result, to which `lam` broadcasts; its own if `None`.
        dtype: an integer dtype; larger draws become its largest integer.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if `lam` is negative, or does not broadcast to `shape`.

    Source:
        Hörmann (1993), The transformed rejection method for generating Poisson random
        variables, algorithm PTRS.

    Example:
        >>> from lucid_fn import random
        >>> random.poisson(random.key(0), 0.0, (3,))
        array([0, 0, 0], dtype=int32)
    """
    check_key("poisson", key)
    check_dtype("poisson", dtype, mx.integer, "an integer dtype")
    size = shape_or_that_of("poisson", shape, lam)
    rate = to_parameter(
        "poisson",
        "lam",
        lam,
        size,
        lambda x: 0 <= x < math.inf,
        "finite and at least 0",
    )
    few_key, many_key = mx.random.split(key)
    mean = mx.array(rate, mx.float32)
    if isinstance(rate, mx.array):
        k = mx.where(
            mean < _FEW,
            _poisson_of_few(few_key, mx.minimum(mean, _FEW), size),
            _poisson_of_many(many_key, mx.maximum(mean, _FEW), size),
        )
    elif rate < _FEW:
        k = _poisson_of_few(few_key, mean, size)
    else:
        k = _poisson_of_many(many_key, mean, size)
    most = mx.iinfo(dtype).max
    drawn = mx.where(k < float(most), k.astype(dtype), mx.array(most, dtype))
    return started(mx.where(mean >= 0, drawn, mx.array(-1).astype(dtype)))


def _poisson_of_few(key: Key, rate: Array, shape: tuple[int, ...]) -> Array:
    """By inversion: how many of the cumulative probabilities are below a draw."""
    u = mx.random.uniform(shape=shape, key=key)
    probability = mx.exp(-rate)
    total, k = probability, mx.zeros(shape)
    for i in range(1, _MOST_OF_FEW):
        k = k + (u >= total)
        probability = probability * rate / i
        total = total + probability
    return k


def _poisson_of_many(key: Key, rate: Array, shape: tuple[int, ...]) -> Array:
    """By rejection from a transformed uniform distribution."""
    b = 0.931 + 2.53 * mx.sqrt(rate)
    a = -0.059 + 0.02483 * b
    keys = mx.random.split(key)
    candidates = (_CANDIDATES, *shape)
    u = mx.random.uniform(shape=candidates, key=keys[0]) - 0.5
    v = mx.maximum(mx.random.uniform(shape=candidates, key=keys[1]), 2.0**-33)
    us = mx.maximum(0.5 - mx.abs(u), 2.0**-33)
    k = mx.floor((2 * a / us + b) * u + rate + 0.43)
    squeeze = mx.logical_and(us >= 0.07, v <= 0.9277 - 3.6224 / (b - 2))
    height = mx.log(v * (1.1239 + 1.1328 / (b - 3.4)) / (a / (us * us) + b))
    below = mx.logical_or(squeeze, height <= _log_poisson(k, rate))
    accepted = mx.logical_and(k >= 0, below)
    return first_accepted(mx.where(accepted, k, mx.floor(rate)), accepted)


def _log_poisson(k: Array, rate: Array) -> Array:
    """`log P(k)`, for rates of 10 and more, without differences of large numbers.

    Source: Loader (2000), Fast and accurate computation of binomial probabilities.
    """
    x = (k - rate) / rate
    near = x * x * (1 / 2 - x * (1 / 6 - x * (1 / 12 - x * (1 / 20 - x / 30))))
    far = (1 + x) * mx.log1p(x) - x
    deviance = rate * mx.where(mx.abs(x) < 0.1, near, far)
    n = mx.maximum(k, 1)
    stirling = 1 / (12 * n) - 1 / (360 * n * n * n)
    return mx.where(k < 1, -rate, -deviance - stirling - 0.5 * mx.log(2 * math.pi * n))
