"""Draws from continuous distributions: uniform, normal, exponential, gamma and others.

Gamma draws are made by rejection. So that they can be compiled and vectorized, a fixed
number of candidates is drawn at once. In one of 1e10 draws none is accepted, and the
draw is a value near the middle of the distribution.
"""

import math
from collections.abc import Sequence

import mlx.core as mx

from lucid_fn.random.checks import (
    check_broadcast,
    check_draw,
    check_dtype,
    check_key,
    check_vector,
    result_shape,
    to_parameter,
    to_shape,
)
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key


def uniform(
    key: Key,
    shape: Sequence[int] = (),
    dtype: mx.Dtype = mx.float32,
    *,
    low: float | Array = 0.0,
    high: float | Array = 1.0,
) -> Array:
    """Draws from the uniform distribution on `[low, high)`.

    Args:
        key: a key.
        shape: the shape of the result, to which `low` and `high` broadcast.
        dtype: a float dtype. Draws in float64 have the resolution of float32.
        low: least value, finite in `dtype`.
        high: bound of the values, finite in `dtype`, at least `low`.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if `low > high`, a bound is not finite, or does not broadcast to
            `shape`. An array with such values gives NaN there.

    Example:
        >>> from lucid_fn import random
        >>> random.uniform(random.key(0), (3,), low=-1.0).shape
        (3,)
    """
    size = check_draw("uniform", key, shape, dtype)
    most = float(mx.finfo(dtype).max)
    words = f"finite in {dtype}".replace("mlx.core.", "")
    low, high = (
        to_parameter("uniform", name, x, size, lambda x: -most <= x <= most, words)
        for name, x in (("low", low), ("high", high))
    )
    wide = True  # whether `high - low` may overflow
    if not isinstance(low, mx.array) and not isinstance(high, mx.array):
        if low > high:
            raise ValueError(
                f"random.uniform: low must be at most high, got {low} and {high}"
            )
        wide = high - low > most
    return started(_uniform(key, size, dtype, low, high, wide))


def _uniform(
    key: Key,
    shape: tuple[int, ...],
    dtype: mx.Dtype,
    low: float | Array,
    high: float | Array,
    wide: bool,
) -> Array:
    start, end = mx.array(low, dtype), mx.array(high, dtype)
    if not wide and dtype != mx.float64:
        y = mx.random.uniform(low, high, shape, dtype, key=key)
    else:
        single = mx.float32 if dtype == mx.float64 else dtype
        unit = mx.random.uniform(shape=shape, dtype=single, key=key).astype(dtype)
        y = (end - start) * unit + start
        halves = (end / 2 - start / 2) * unit + start / 2
        y = mx.where(mx.isinf(y), 2 * halves, y)
        y = mx.where(mx.logical_and(start <= end, mx.isfinite(y)), y, math.nan)
    # Where the range is small beside its bounds, the largest draws are rounded up.
    return mx.where(y >= end, start, y).astype(dtype)


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
    size = check_draw("normal", key, shape, dtype)
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

    The bounds may be far out in a tail: draws are not made by rejection.

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
    size = check_draw("truncated_normal", key, shape, dtype)
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


# Truncated draws are made by inversion, in the tails by a formula of their own.
_TAIL = 2.0  # standard deviations beyond which float32 loses digits of 1 - erf
_WIDTH = 64.0  # a tail has no mass beyond it in float32
_NEWTON_STEPS = 5
_ERFCX = (
    *(-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806),
    *(0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277),
)


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
    In terms of `erfcx`, which varies slowly, no large numbers are subtracted.
    """

    def logarithm(d: Array) -> Array:  # of Q(a) / Q(a + d)
        return a * d + d * d / 2 - (_log_erfcx(a + d) - _log_erfcx(a))

    u = mx.random.uniform(shape=shape, key=key)
    width = mx.minimum(b - a, _WIDTH)
    target = -mx.log1p(u * mx.expm1(-logarithm(width)))
    # The function is convex, and the start (the solution for a constant `erfcx`) is
    # right of the root, so that Newton's method decreases monotonically.
    d = 2 * target / (a + mx.sqrt(a * a + 2 * target))
    for _ in range(_NEWTON_STEPS):
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
    batch = result_shape("multivariate_normal", shape, mean[..., 0], cov[..., 0, 0])
    check_broadcast("multivariate_normal", "mean", mean, (*batch, n))
    check_broadcast("multivariate_normal", "cov", cov, (*batch, n, n))
    values, vectors = mx.linalg.eigh(cov.astype(mx.float32), stream=mx.cpu)
    rounding = n * 1e-6 * mx.max(mx.abs(values), axis=-1, keepdims=True)
    values = mx.where(mx.abs(values) <= rounding, 0.0, values)
    z = mx.random.normal((*batch, n), key=key)
    scaled = (z * mx.sqrt(values))[..., None, :]
    x = mean.astype(mx.float32) + (scaled * vectors).sum(axis=-1)
    return started(x.astype(dtype))


def exponential(
    key: Key, shape: Sequence[int] = (), dtype: mx.Dtype = mx.float32
) -> Array:
    """Draws from the exponential distribution of rate 1, `p(x) = exp(-x)`.

    Args:
        key: a key.
        shape: the shape of the result.
        dtype: a float dtype.

    Raises:
        TypeError: if `key`, `shape` or `dtype` is of the wrong type.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import random
        >>> mx.all(random.exponential(random.key(0), (100,)) >= 0).item()
        True
    """
    size = check_draw("exponential", key, shape, dtype)
    return started(draw_exponential(key, size).astype(dtype))


def draw_exponential(key: Key, shape: tuple[int, ...]) -> Array:
    """`exponential` in float32, without checks."""
    return -mx.log1p(-mx.random.uniform(shape=shape, key=key))


def laplace(key: Key, shape: Sequence[int] = (), dtype: mx.Dtype = mx.float32) -> Array:
    """Draws from the Laplace distribution, `p(x) = exp(-|x|) / 2`.

    Args:
        key: a key.
        shape: the shape of the result.
        dtype: a float dtype.

    Raises:
        TypeError: if `key`, `shape` or `dtype` is of the wrong type.

    Example:
        >>> from lucid_fn import random
        >>> random.laplace(random.key(0), (2, 3)).shape
        (2, 3)
    """
    size = check_draw("laplace", key, shape, dtype)
    return started(mx.random.laplace(size, mx.float32, key=key).astype(dtype))


def gumbel(key: Key, shape: Sequence[int] = (), dtype: mx.Dtype = mx.float32) -> Array:
    """Draws from the standard Gumbel distribution, `-log(-log(u))` of uniform `u`.

    Args:
        key: a key.
        shape: the shape of the result.
        dtype: a float dtype.

    Raises:
        TypeError: if `key`, `shape` or `dtype` is of the wrong type.

    Example:
        >>> from lucid_fn import random
        >>> random.gumbel(random.key(0), (2, 3)).shape
        (2, 3)
    """
    size = check_draw("gumbel", key, shape, dtype)
    # In 16 bits the largest uniform number is far from 1, and all tails end there.
    u = mx.random.uniform(shape=size, key=key)
    return started(-mx.log(-mx.log(mx.maximum(u, 2.0**-33))).astype(dtype))


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
    size = result_shape("gamma", shape, a)
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
    size = result_shape("beta", shape, a, b)
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
        shape: the shape of the batch, to which `alpha.shape[:-1]` broadcasts, or
            which it is if `None`.
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


_GAMMA_CANDIDATES = 8  # each is accepted with a probability above 0.95


def _gamma(key: Key, a: float | Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Gamma draws as two factors, the second one as its logarithm.

    For small `a` the product underflows, but its logarithm does not.
    """
    normal_key, uniform_key, boost_key = mx.random.split(key, 3)
    alpha = mx.array(a, mx.float32)
    small = alpha < 1
    d = mx.where(small, alpha + 1, alpha) - 1 / 3
    candidates = (_GAMMA_CANDIDATES, *shape)
    x = mx.random.normal(candidates, key=normal_key)
    root = 1 + x / mx.sqrt(9 * d)
    v = root * root * root
    bound = x * x / 2 + d * (1 - v + mx.log(v))
    below = -draw_exponential(uniform_key, candidates) < bound
    accepted = mx.logical_and(root > 0, below)
    v = first_accepted(mx.where(accepted, v, 1.0), accepted)
    boost = mx.where(small, -draw_exponential(boost_key, shape) / alpha, 0.0)
    return mx.where(alpha > 0, d * v, math.nan), boost


def first_accepted(candidates: Array, accepted: Array) -> Array:
    """The first accepted candidate along axis 0, or the first one if none is."""
    if candidates.size == 0:  # MLX has no argmax of nothing
        return candidates[0]
    first = mx.argmax(accepted, axis=0, keepdims=True)
    return mx.take_along_axis(candidates, first, axis=0)[0]
