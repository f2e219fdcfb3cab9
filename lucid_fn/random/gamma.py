"""Draws from the gamma distribution, and from those made of it.

Candidates that may be rejected are drawn a fixed number at once, so that drawing
compiles and vectorizes. One of 1e10 draws has none that is accepted, and gets a value
near the middle of the distribution.
"""

import math
from collections.abc import Sequence

import mlx.core as mx

from lucid_fn.random.checks import (
    check_broadcast,
    check_dtype,
    check_key,
    check_vector,
    shape_or_that_of,
    to_parameter,
    to_shape,
)
from lucid_fn.random.exponential import draw_exponential, first_accepted
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key

_CANDIDATES = 8  # of which each is accepted with a probability above 0.95


def gamma(
    key: Key,
    a: float | Array,
    shape: Sequence[int] | None = None,
    dtype: mx.Dtype = mx.float32,
) -> Array:
    """Draws from the gamma distribution of scale 1, `p(x) ~ x^(a - 1) exp(-x)`.

    Args:
        key: a key.
        a: shape parameter, above 0; an array gives NaN where it is not.
        shape: the shape of the result, to which `a` broadcasts; that of `a` if `None`.
        dtype: a float dtype.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if `a` is not positive, or does not broadcast to `shape`.

    Source:
        Marsaglia and Tsang (2000), A simple method for generating gamma variables.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import random
        >>> mx.all(random.gamma(random.key(0), 2.0, (100,)) > 0).item()
        True
    """
    check_key("gamma", key)
    check_dtype("gamma", dtype, mx.floating, "a float dtype")
    size = shape_or_that_of("gamma", shape, a)
    alpha = to_parameter("gamma", "a", a, size, _is_positive, "positive and finite")
    scaled, boost = _gamma(key, alpha, size)
    return started((scaled * mx.exp(boost)).astype(dtype))


def beta(
    key: Key,
    a: float | Array,
    b: float | Array,
    shape: Sequence[int] | None = None,
    dtype: mx.Dtype = mx.float32,
) -> Array:
    """Draws from the beta distribution, `p(x) ~ x^(a - 1) (1 - x)^(b - 1)` in [0, 1].

    Args:
        key: a key.
        a: first parameter, above 0; an array gives NaN where it is not.
        b: second parameter, likewise.
        shape: the shape of the result; what `a` and `b` broadcast to if `None`.
        dtype: a float dtype.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if a parameter is not positive, or does not broadcast to `shape`.

    Example:
        >>> from lucid_fn import random
        >>> 0 <= random.beta(random.key(0), 2.0, 3.0).item() <= 1
        True
    """
    check_key("beta", key)
    check_dtype("beta", dtype, mx.floating, "a float dtype")
    size = shape_or_that_of("beta", shape, a, b)
    keys = mx.random.split(key)
    logs = []
    for subkey, name, value in ((keys[0], "a", a), (keys[1], "b", b)):
        checked = to_parameter(
            "beta", name, value, size, _is_positive, "positive and finite"
        )
        logs.append(_log_gamma(subkey, checked, size))
    return started(mx.sigmoid(logs[0] - logs[1]).astype(dtype))


def dirichlet(
    key: Key,
    alpha: Array,
    shape: Sequence[int] | None = None,
    dtype: mx.Dtype = mx.float32,
) -> Array:
    """Draws from the Dirichlet distribution: probabilities that add up to 1.

    Args:
        key: a key.
        alpha: concentrations `(..., K)`, above 0; NaN where one is not.
        shape: the shape of the batch, to which `alpha.shape[:-1]` broadcasts; that
            itself if `None`.
        dtype: a float dtype.

    Returns:
        Probabilities, shape `(*shape, K)`.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if `alpha` has no axis, or does not broadcast to `shape`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import random
        >>> p = random.dirichlet(random.key(0), mx.ones(3), (5,))
        >>> p.shape, mx.allclose(p.sum(axis=-1), mx.array(1.0)).item()
        ((5, 3), True)
    """
    check_key("dirichlet", key)
    check_dtype("dirichlet", dtype, mx.floating, "a float dtype")
    check_vector("dirichlet", "alpha", alpha, 1)
    batch = alpha.shape[:-1] if shape is None else to_shape("dirichlet", shape)
    size = (*batch, alpha.shape[-1])
    check_broadcast("dirichlet", "alpha", alpha, size)
    return started(mx.softmax(_log_gamma(key, alpha, size), axis=-1).astype(dtype))


def _is_positive(x: float) -> bool:
    return 0 < x < math.inf


def _log_gamma(key: Key, a: float | Array, shape: tuple[int, ...]) -> Array:
    scaled, boost = _gamma(key, a, shape)
    return mx.log(scaled) + boost


def _gamma(key: Key, a: float | Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Gamma draws as two factors, the second one as its logarithm."""
    normal_key, uniform_key, boost_key = mx.random.split(key, 3)
    alpha = mx.array(a, mx.float32)
    small = alpha < 1
    d = mx.where(small, alpha + 1, alpha) - 1 / 3
    candidates = (_CANDIDATES, *shape)
    x = mx.random.normal(candidates, key=normal_key)
    root = 1 + x / mx.sqrt(9 * d)
    v = root * root * root
    bound = x * x / 2 + d * (1 - v + mx.log(v))
    below = -draw_exponential(uniform_key, candidates) < bound
    accepted = mx.logical_and(root > 0, below)
    v = first_accepted(mx.where(accepted, v, 1.0), accepted)
    boost = mx.where(small, -draw_exponential(boost_key, shape) / alpha, 0.0)
    return mx.where(alpha > 0, d * v, math.nan), boost
