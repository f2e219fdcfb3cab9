"""Draws from more distributions, computed in float32."""

from collections.abc import Sequence

import mlx.core as mx

from lucid_fn.evaluation import started
from lucid_fn.random.checks import (
    check_broadcast,
    check_dtype,
    check_key,
    check_vector,
    shape_or_that_of,
    to_shape,
)
from lucid_fn.types import Array, Key


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
    check_key("exponential", key)
    size = to_shape("exponential", shape)
    check_dtype("exponential", dtype, mx.floating, "a float dtype")
    return started(draw_exponential(key, size).astype(dtype))


def draw_exponential(key: Key, shape: tuple[int, ...]) -> Array:
    return -mx.log1p(-mx.random.uniform(shape=shape, key=key))


def first_accepted(candidates: Array, accepted: Array) -> Array:
    """The first candidate along axis 0 that is accepted, and the first if none is."""
    if candidates.size == 0:  # MLX has no argmax of nothing
        return candidates[0]
    first = mx.argmax(accepted, axis=0, keepdims=True)
    return mx.take_along_axis(candidates, first, axis=0)[0]


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
    check_key("laplace", key)
    size = to_shape("laplace", shape)
    check_dtype("laplace", dtype, mx.floating, "a float dtype")
    return started(mx.random.laplace(size, mx.float32, key=key).astype(dtype))


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
