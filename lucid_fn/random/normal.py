"""Draws from normal distributions: of one number, truncated, and of vectors."""

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
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key

# Of truncated draws, which come by inversion in the middle and in the tails.
_TAIL = 2.0  # standard deviations beyond which float32 loses digits of 1 - erf
_WIDTH = 64.0  # of a tail that has all of its mass, to the last digit and far beyond
_NEWTON = 5
_ERFCX = (
    *(-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806),
    *(0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277),
)


def normal(key: Key, shape: Sequence[int] = (), dtype: mx.Dtype = mx.float32) -> Array:
    """Draws from the standard normal distribution: mean 0, standard deviation 1.

    Args:
        key: a key.
        shape: the shape of the result.
        dtype: a float dtype.

    Raises:
        TypeError: if `key`, `shape` or `dtype` is of the wrong type.

    Example:
        >>> from lucid_fn import random
        >>> random.normal(random.key(0), (2, 3)).shape
        (2, 3)
    """
    check_key("normal", key)
    size = to_shape("normal", shape)
    check_dtype("normal", dtype, mx.floating, "a float dtype")
    return started(mx.random.normal(size, dtype, key=key))


def truncated_normal(
    key: Key,
    shape: Sequence[int] = (),
    dtype: mx.Dtype = mx.float32,
    *,
    low: float | Array = -2.0,
    high: float | Array = 2.0,
) -> Array:
    """Draws from the standard normal distribution truncated to `[low, high]`.

    Also far out in a tail, where few normal draws would lie.

    Args:
        key: a key.
        shape: the shape of the result, to which `low` and `high` broadcast.
        dtype: a float dtype.
        low: least value, in standard deviations; may be infinite.
        high: greatest value, in standard deviations; may be infinite.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: unless `low < high`, or if one does not broadcast to `shape`. An
            array with such values gives NaN there.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import random
        >>> x = random.truncated_normal(random.key(0), (100,), low=0.0)
        >>> mx.all((x >= 0) & (x <= 2)).item()
        True
    """
    check_key("truncated_normal", key)
    size = to_shape("truncated_normal", shape)
    check_dtype("truncated_normal", dtype, mx.floating, "a float dtype")
    low, high = (
        to_parameter("truncated_normal", name, x, size, lambda x: x == x, "a number")
        for name, x in (("low", low), ("high", high))
    )
    known = not isinstance(low, mx.array) and not isinstance(high, mx.array)
    if known and not low < high:
        raise ValueError(
            f"random.truncated_normal: low must be less than high, got {low} and {high}"
        )
    x = _truncated(key, size, low, high)
    if not known:
        x = mx.where(mx.array(low) < mx.array(high), x, math.nan)
    return started(x.astype(dtype))


def multivariate_normal(
    key: Key,
    mean: Array,
    cov: Array,
    shape: Sequence[int] | None = None,
    dtype: mx.Dtype = mx.float32,
) -> Array:
    """Draws from the normal distribution of a mean vector and a covariance matrix.

    Args:
        key: a key.
        mean: means, shape `(..., n)`.
        cov: symmetric covariances, shape `(..., n, n)`, of which the lower triangles
            are read. Singular ones are allowed; one with a negative eigenvalue, beyond
            rounding, gives NaN.
        shape: the shape of the batch; what the batches of `mean` and `cov` broadcast
            to if `None`.
        dtype: a float dtype.

    Returns:
        Draws, shape `(*shape, n)`.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if the shapes do not fit.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import random
        >>> random.multivariate_normal(
        ...     random.key(0), mx.zeros(2), mx.eye(2), (5,)
        ... ).shape
        (5, 2)
    """
    check_key("multivariate_normal", key)
    check_dtype("multivariate_normal", dtype, mx.floating, "a float dtype")
    check_vector("multivariate_normal", "mean", mean, 1)
    check_vector("multivariate_normal", "cov", cov, 2)
    n = mean.shape[-1]
    if cov.shape[-2:] != (n, n):
        raise ValueError(
            f"random.multivariate_normal: cov must have shape (..., {n}, {n}) for "
            f"means of {n} entries, got {cov.shape}"
        )
    batch = shape_or_that_of("multivariate_normal", shape, mean[..., 0], cov[..., 0, 0])
    check_broadcast("multivariate_normal", "mean", mean, (*batch, n))
    check_broadcast("multivariate_normal", "cov", cov, (*batch, n, n))
    values, vectors = mx.linalg.eigh(cov.astype(mx.float32), stream=mx.cpu)
    rounding = n * 1e-6 * mx.max(mx.abs(values), axis=-1, keepdims=True)
    values = mx.where(mx.abs(values) <= rounding, 0.0, values)
    z = mx.random.normal((*batch, n), key=key)
    scaled = (z * mx.sqrt(values))[..., None, :]
    x = mean.astype(mx.float32) + (scaled * vectors).sum(axis=-1)
    return started(x.astype(dtype))


def _truncated(
    key: Key, shape: tuple[int, ...], low: float | Array, high: float | Array
) -> Array:
    """Draws of the standard normal distribution in `[low, high]`, in float32."""
    if isinstance(low, mx.array) or isinstance(high, mx.array):
        a, b = mx.array(low, mx.float32), mx.array(high, mx.float32)
        right, left = a >= _TAIL, b <= -_TAIL
        start = mx.where(right, a, mx.where(left, -b, _TAIL))
        end = mx.where(right, b, mx.where(left, -a, _TAIL + 1))
        tail = _tail(key, shape, start, end)
        sides = mx.where(right, tail, -tail)
        return mx.where(mx.logical_or(right, left), sides, _middle(key, shape, a, b))
    if low >= _TAIL:
        return _tail(key, shape, mx.array(low), mx.array(high))
    if high <= -_TAIL:
        return -_tail(key, shape, mx.array(-high), mx.array(-low))
    return _middle(key, shape, mx.array(low), mx.array(high))


def _middle(key: Key, shape: tuple[int, ...], low: Array, high: Array) -> Array:
    x = mx.random.truncated_normal(low, high, shape, mx.float32, key=key)
    return mx.clip(x, -6.0, 6.0)  # an infinite bound would be drawn now and then


def _tail(key: Key, shape: tuple[int, ...], a: Array, b: Array) -> Array:
    """Draws between `a` and `b`, where `2 <= a < b`.

    `x = a + d` is found from `Q(x) / Q(a) = 1 - u (1 - Q(b) / Q(a))`, where `Q` is the
    probability of more than `x`, by Newton's method on the logarithm of the left side.
    With `erfcx`, which varies slowly, it has no difference of large numbers.
    """

    def logarithm(d: Array) -> Array:  # of Q(a) / Q(a + d)
        return a * d + d * d / 2 - (_log_erfcx(a + d) - _log_erfcx(a))

    u = mx.random.uniform(shape=shape, key=key)
    width = mx.minimum(b - a, _WIDTH)
    target = -mx.log1p(u * mx.expm1(-logarithm(width)))
    # The function is convex, and this start, where `erfcx` is constant, right of the
    # solution: each step comes closer from there.
    d = 2 * target / (a + mx.sqrt(a * a + 2 * target))
    for _ in range(_NEWTON):
        hazard = math.sqrt(2 / math.pi) * mx.exp(-_log_erfcx(a + d))
        d = mx.clip(d - (logarithm(d) - target) / hazard, 0.0, width)
    return mx.clip(a + d, a, b)


def _log_erfcx(x: Array) -> Array:
    """`log(erfc(z) exp(z^2))` of `z = x / sqrt(2)`, for `x >= 0`, within 1.2e-7.

    Source: Press et al., Numerical Recipes in C, second edition, section 6.2, `erfcc`.
    """
    t = 1 / (1 + x / math.sqrt(8))
    y = mx.array(_ERFCX[-1])
    for coefficient in reversed(_ERFCX[:-1]):
        y = y * t + coefficient
    return mx.log(t) + y
