"""Global pooling: one number per channel, from all places; channels last."""

import math

import mlx.core as mx

from lucid_fn.checks import check_axes, check_float
from lucid_fn.numerics import sum_rows
from lucid_fn.ops.input_checks import takes_array
from lucid_fn.ops.seam import examplewise
from lucid_fn.types import Array


@examplewise
@takes_array
def global_avg_pool1d(x: Array) -> Array:
    """The mean of each channel over the whole sequence: `(N, L, C)` to `(N, C)`.

    Args:
        x: float, shape `(N, L, C)`.

    Raises:
        TypeError: as `global_avg_pool2d`.
        ValueError: as `global_avg_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.global_avg_pool1d(mx.arange(6.0).reshape(1, 3, 2))
        array([[2, 3]], dtype=float32)
    """
    return _mean("global_avg_pool1d", x, dims=1)


@examplewise
@takes_array
def global_avg_pool2d(x: Array) -> Array:
    """The mean of each channel over the whole image: `(N, H, W, C)` to `(N, C)`.

    Half-precision sums are accumulated in float32.

    Args:
        x: float, shape `(N, H, W, C)`.

    Returns:
        Float array of shape `(N, C)`, of the dtype of `x`.

    Raises:
        TypeError: if `x` is not an MLX array of a float dtype.
        ValueError: if `x` has the wrong number of axes, or no places to pool.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.global_avg_pool2d(mx.arange(8.0).reshape(1, 2, 2, 2))
        array([[3, 4]], dtype=float32)
    """
    return _mean("global_avg_pool2d", x, dims=2)


@examplewise
@takes_array
def global_avg_pool3d(x: Array) -> Array:
    """The mean of each channel over the whole volume: `(N, D, H, W, C)` to `(N, C)`.

    Args:
        x: float, shape `(N, D, H, W, C)`.

    Raises:
        TypeError: as `global_avg_pool2d`.
        ValueError: as `global_avg_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.global_avg_pool3d(mx.ones((2, 3, 4, 5, 6))).shape
        (2, 6)
    """
    return _mean("global_avg_pool3d", x, dims=3)


@examplewise
@takes_array
def global_max_pool1d(x: Array) -> Array:
    """The maximum of each channel over the whole sequence: `(N, L, C)` to `(N, C)`.

    Args:
        x: float, shape `(N, L, C)`.

    Raises:
        TypeError: as `global_avg_pool2d`.
        ValueError: as `global_avg_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.global_max_pool1d(mx.arange(6.0).reshape(1, 3, 2))
        array([[4, 5]], dtype=float32)
    """
    return _max("global_max_pool1d", x, dims=1)


@examplewise
@takes_array
def global_max_pool2d(x: Array) -> Array:
    """The maximum of each channel over the whole image: `(N, H, W, C)` to `(N, C)`.

    A channel with a nan gives nan. The gradient goes to the first maximum.

    Args:
        x: float, shape `(N, H, W, C)`.

    Raises:
        TypeError: as `global_avg_pool2d`.
        ValueError: as `global_avg_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.global_max_pool2d(mx.arange(8.0).reshape(1, 2, 2, 2))
        array([[6, 7]], dtype=float32)
    """
    return _max("global_max_pool2d", x, dims=2)


@examplewise
@takes_array
def global_max_pool3d(x: Array) -> Array:
    """The maximum of each channel over the whole volume: `(N, D, H, W, C)` to `(N, C)`.

    Args:
        x: float, shape `(N, D, H, W, C)`.

    Raises:
        TypeError: as `global_avg_pool2d`.
        ValueError: as `global_avg_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.global_max_pool3d(mx.ones((2, 3, 4, 5, 6))).shape
        (2, 6)
    """
    return _max("global_max_pool3d", x, dims=3)


def _mean(name: str, x: Array, *, dims: int) -> Array:
    places = _places(name, x, dims)
    return (sum_rows(places) / places.shape[1]).astype(x.dtype)


def _max(name: str, x: Array, *, dims: int) -> Array:
    places = _places(name, x, dims)
    infinite = mx.array(math.inf, x.dtype)
    nan_first = mx.where(mx.isnan(places), infinite, places)
    if places.size == 0:  # MLX has no maximum of nothing
        return places.sum(axis=1)
    at = mx.argmax(mx.stop_gradient(nan_first), axis=1, keepdims=True)
    # Not mx.max, whose gradient is shared by equal numbers.
    return mx.take_along_axis(places, at, axis=1).squeeze(1)


def _places(name: str, x: Array, dims: int) -> Array:
    """`(N, places, C)`."""
    check_float(name, x=x)
    check_axes(name, x, dims, least=1)
    return x.reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])
