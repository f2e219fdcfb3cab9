"""Pooling layers with an output of a given size, channels last."""

from collections.abc import Callable
from typing import Any, TypeAlias

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import check_axes, check_float, check_size, to_sizes
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.core.lift import lift
from lucid_fn.types import Array

PoolFn: TypeAlias = Callable[[Array, Any], Array]  # of an array and an output size


def adaptive_avg_pool2d(output_size: int | tuple[int, int]) -> Layer:
    """Adaptive 2D average pooling to `output_size`: see
    `lucid_fn.ops.adaptive_avg_pool2d`.

    Args:
        output_size: height and width of the output; one number for both.

    Raises:
        ValueError: if a size is not positive; on apply, if `x` does not have the shape
            `(N, H, W, C)`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.adaptive_avg_pool2d((1, 3))
        >>> pool.apply({}, {}, mx.ones((2, 7, 5, 4)), train=False)[0].shape
        (2, 1, 3, 4)
    """
    return _adaptive("adaptive_avg_pool2d", 2, ops.adaptive_avg_pool2d, output_size)


def adaptive_max_pool2d(output_size: int | tuple[int, int]) -> Layer:
    """Adaptive 2D max pooling to `output_size`: see `lucid_fn.ops.adaptive_max_pool2d`.

    Args:
        output_size: height and width of the output; one number for both.

    Raises:
        ValueError: as `adaptive_avg_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.adaptive_max_pool2d(2)
        >>> pool.apply({}, {}, mx.ones((2, 7, 5, 4)), train=False)[0].shape
        (2, 2, 2, 4)
    """
    return _adaptive("adaptive_max_pool2d", 2, ops.adaptive_max_pool2d, output_size)


def adaptive_avg_pool1d(output_size: int) -> Layer:
    """`adaptive_avg_pool2d` for sequences `(N, L, C)`.

    Args:
        output_size: length of the output.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.adaptive_avg_pool1d(3)
        >>> pool.apply({}, {}, mx.ones((2, 7, 4)), train=False)[0].shape
        (2, 3, 4)
    """
    name = "adaptive_avg_pool1d"
    pool = _of_sequences(name, ops.adaptive_avg_pool2d)
    return _adaptive(name, 1, pool, output_size)


def adaptive_max_pool1d(output_size: int) -> Layer:
    """`adaptive_max_pool2d` for sequences `(N, L, C)`.

    Args:
        output_size: length of the output.

    Raises:
        ValueError: as `adaptive_avg_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.adaptive_max_pool1d(3)
        >>> pool.apply({}, {}, mx.ones((2, 7, 4)), train=False)[0].shape
        (2, 3, 4)
    """
    name = "adaptive_max_pool1d"
    pool = _of_sequences(name, ops.adaptive_max_pool2d)
    return _adaptive(name, 1, pool, output_size)


def adaptive_avg_pool3d(output_size: int | tuple[int, int, int]) -> Layer:
    """`adaptive_avg_pool2d` for volumes `(N, D, H, W, C)`; triples are (D, H, W).

    Args:
        output_size: depth, height and width of the output; one number for all.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.adaptive_avg_pool3d((1, 2, 3))
        >>> pool.apply({}, {}, mx.ones((2, 3, 4, 5, 1)), train=False)[0].shape
        (2, 1, 2, 3, 1)
    """
    name = "adaptive_avg_pool3d"
    pool = _of_volumes(name, ops.adaptive_avg_pool2d)
    return _adaptive(name, 3, pool, output_size)


def adaptive_max_pool3d(output_size: int | tuple[int, int, int]) -> Layer:
    """`adaptive_max_pool2d` for volumes `(N, D, H, W, C)`; triples are (D, H, W).

    Args:
        output_size: depth, height and width of the output; one number for all.

    Raises:
        ValueError: as `adaptive_avg_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.adaptive_max_pool3d(2)
        >>> pool.apply({}, {}, mx.ones((2, 3, 4, 5, 1)), train=False)[0].shape
        (2, 2, 2, 2, 1)
    """
    name = "adaptive_max_pool3d"
    pool = _of_volumes(name, ops.adaptive_max_pool2d)
    return _adaptive(name, 3, pool, output_size)


def _adaptive(
    caller: str, dims: int, pool: PoolFn, output_size: int | tuple[int, ...]
) -> Layer:
    """The layer of `pool(x, size)`."""
    size = to_sizes(caller, "output_size", output_size, dims=dims, at_least=1)

    def forward(x: Array) -> Array:
        check_float(caller, x=x)
        if x.ndim == dims + 2:
            check_size(caller, "output_size", (x.shape[0], *size, x.shape[-1]))
        return pool(x, size)

    return lift(forward, examplewise=True)


def _of_sequences(caller: str, pool: PoolFn) -> PoolFn:
    """`pool` of images with one row."""

    def pooled(x: Array, size: Any) -> Array:
        check_float(caller, x=x)
        check_axes(caller, x, 1)
        return mx.squeeze(pool(x[:, None], (1, *size)), 1)

    return pooled


def _of_volumes(caller: str, pool: PoolFn) -> PoolFn:
    """`pool` of each slice, then across the slices; rounded once to half precision."""

    def pooled(x: Array, size: Any) -> Array:
        check_float(caller, x=x)
        check_axes(caller, x, 3, least=1)
        n, d, h, w, c = x.shape
        depth, height, width = size
        area = height * width
        slices = pool(x.astype(mx.float32).reshape(n * d, h, w, c), (height, width))
        across = pool(slices.reshape(n, d, area, c), (depth, area))
        return across.reshape(n, *size, c).astype(x.dtype)

    return pooled
