"""One number a channel, from all places: functions on arrays, channels last."""

import math

import mlx.core as mx

from lucid_fn.checks import check_float
from lucid_fn.nn.core.checks import AXES
from lucid_fn.ops import global_avg_pool2d as global_avg_pool2d
from lucid_fn.ops.called import takes_array
from lucid_fn.ops.channel_sum import place_sum
from lucid_fn.ops.seam import examplewise
from lucid_fn.types import Array, ArrayFn


def _takes_examples(fn: ArrayFn) -> ArrayFn:
    """`fn(x)`, which treats examples independently, with the errors of a layer."""
    return examplewise(takes_array(fn))


@_takes_examples
def global_avg_pool1d(x: Array) -> Array:
    """Global average pooling of sequences: `(N, L, C)` to `(N, C)`.

    Args:
        x: float, shape `(N, L, C)`.

    Raises:
        TypeError: as `global_max_pool1d`.
        ValueError: as `global_max_pool1d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> nn.global_avg_pool1d(mx.arange(6.0).reshape(1, 3, 2))
        array([[2, 3]], dtype=float32)
    """
    return _mean("global_avg_pool1d", x, dims=1)


@_takes_examples
def global_avg_pool3d(x: Array) -> Array:
    """Global average pooling of volumes: `(N, D, H, W, C)` to `(N, C)`.

    Args:
        x: float, shape `(N, D, H, W, C)`.

    Raises:
        TypeError: as `global_max_pool1d`.
        ValueError: as `global_max_pool1d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> nn.global_avg_pool3d(mx.ones((2, 3, 4, 5, 6))).shape
        (2, 6)
    """
    return _mean("global_avg_pool3d", x, dims=3)


@_takes_examples
def global_max_pool1d(x: Array) -> Array:
    """Global max pooling of sequences: `(N, L, C)` to `(N, C)`.

    The gradient goes to the first maximum; a nan wins.

    Args:
        x: float, shape `(N, L, C)`.

    Raises:
        TypeError: if `x` is not of a float dtype.
        ValueError: if `x` has the wrong number of axes, or no places.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> nn.global_max_pool1d(mx.arange(6.0).reshape(1, 3, 2))
        array([[4, 5]], dtype=float32)
    """
    return _max("global_max_pool1d", x, dims=1)


@_takes_examples
def global_max_pool2d(x: Array) -> Array:
    """Global max pooling of images: `(N, H, W, C)` to `(N, C)`.

    Args:
        x: float, shape `(N, H, W, C)`.

    Raises:
        TypeError: as `global_max_pool1d`.
        ValueError: as `global_max_pool1d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> nn.global_max_pool2d(mx.arange(8.0).reshape(1, 2, 2, 2))
        array([[6, 7]], dtype=float32)
    """
    return _max("global_max_pool2d", x, dims=2)


@_takes_examples
def global_max_pool3d(x: Array) -> Array:
    """Global max pooling of volumes: `(N, D, H, W, C)` to `(N, C)`.

    Args:
        x: float, shape `(N, D, H, W, C)`.

    Raises:
        TypeError: as `global_max_pool1d`.
        ValueError: as `global_max_pool1d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> nn.global_max_pool3d(mx.ones((2, 3, 4, 5, 6))).shape
        (2, 6)
    """
    return _max("global_max_pool3d", x, dims=3)


def _mean(caller: str, x: Array, *, dims: int) -> Array:
    places = _places(caller, x, dims).astype(mx.float32)
    return (place_sum(places) / places.shape[1]).astype(x.dtype)


def _max(caller: str, x: Array, *, dims: int) -> Array:
    places = _places(caller, x, dims)
    infinite = mx.array(math.inf, x.dtype)
    nan_first = mx.where(mx.isnan(places), infinite, places)
    if places.size == 0:  # MLX has no maximum of nothing
        return places.sum(axis=1)
    at = mx.argmax(mx.stop_gradient(nan_first), axis=1, keepdims=True)
    # Not mx.max, whose gradient is shared by equal numbers.
    return mx.take_along_axis(places, at, axis=1).squeeze(1)


def _places(caller: str, x: Array, dims: int) -> Array:
    """`(N, places, C)`."""
    check_float(caller, x=x)
    if x.ndim != dims + 2 or 0 in x.shape[1:-1]:
        raise ValueError(
            f"{caller}: x must have shape (N, {AXES[dims]}, C), with no empty axis "
            f"between, got {x.shape}"
        )
    return x.reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])
