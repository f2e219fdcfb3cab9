"""Adaptive pooling layers, whose output has a given size; channels last."""

from collections.abc import Callable
from typing import Any, TypeAlias

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import check_axes, check_float, check_size, to_sizes
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.core.lift import lift
from lucid_fn.types import Array

PoolFn: TypeAlias = Callable[[Array, Any], Array]  # from x and the output size


def adaptive_avg_pool2d(output_size: int | tuple[int, int]) -> Layer:
    """Adaptive 2D average pooling to `output_size`.

    See `lucid_fn.ops.adaptive_avg_pool2d`.

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
    """Adaptive 2D max pooling to `output_size`.

    See `lucid_fn.ops.adaptive_max_pool2d`.

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
    """Adaptive average pooling of sequences, `(N, L, C)`, to length `output_size`.

    The arguments are those of `adaptive_avg_pool2d`, for one axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.adaptive_avg_pool1d(3)
        >>> pool.apply({}, {}, mx.ones((2, 7, 4)), train=False)[0].shape
        (2, 3, 4)
    """
    return _adaptive("adaptive_avg_pool1d", 1, ops.adaptive_avg_pool2d, output_size)


def adaptive_max_pool1d(output_size: int) -> Layer:
    """Adaptive max pooling of sequences, `(N, L, C)`, to length `output_size`.

    The arguments are those of `adaptive_max_pool2d`, for one axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.adaptive_max_pool1d(3)
        >>> pool.apply({}, {}, mx.ones((2, 7, 4)), train=False)[0].shape
        (2, 3, 4)
    """
    return _adaptive("adaptive_max_pool1d", 1, ops.adaptive_max_pool2d, output_size)


def adaptive_avg_pool3d(output_size: int | tuple[int, int, int]) -> Layer:
    """Adaptive average pooling of volumes, `(N, D, H, W, C)`, to `output_size`.

    The arguments are those of `adaptive_avg_pool2d`, for three axes; triples are
    (depth, height, width).

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.adaptive_avg_pool3d((1, 2, 3))
        >>> pool.apply({}, {}, mx.ones((2, 3, 4, 5, 1)), train=False)[0].shape
        (2, 1, 2, 3, 1)
    """
    return _adaptive("adaptive_avg_pool3d", 3, ops.adaptive_avg_pool2d, output_size)


def adaptive_max_pool3d(output_size: int | tuple[int, int, int]) -> Layer:
    """Adaptive max pooling of volumes, `(N, D, H, W, C)`, to `output_size`.

    The arguments are those of `adaptive_max_pool2d`, for three axes; triples are
    (depth, height, width).

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.adaptive_max_pool3d(2)
        >>> pool.apply({}, {}, mx.ones((2, 3, 4, 5, 1)), train=False)[0].shape
        (2, 2, 2, 2, 1)
    """
    return _adaptive("adaptive_max_pool3d", 3, ops.adaptive_max_pool2d, output_size)


def _adaptive(
    caller: str, dims: int, pool: PoolFn, output_size: int | tuple[int, ...]
) -> Layer:
    """The layer that pools `dims` spatial axes by `pool(x, size)`, which pools two."""
    size = to_sizes(caller, "output_size", output_size, dims=dims, at_least=1)

    def forward(x: Array) -> Array:
        check_float(caller, x=x)
        check_axes(caller, x, dims, least=1)
        check_size(caller, "output_size", (x.shape[0], *size, x.shape[-1]))
        if dims == 1:
            return mx.squeeze(pool(x[:, None], (1, *size)), 1)
        return pool(x, size) if dims == 2 else _pool_volumes(pool, x, *size)

    return lift(forward, examplewise=True)


def _pool_volumes(pool: PoolFn, x: Array, depth: int, height: int, width: int) -> Array:
    """Pool each slice, then across the slices; half precision is rounded only once."""
    n, d, h, w, c = x.shape
    area = height * width
    slices = pool(x.astype(mx.float32).reshape(n * d, h, w, c), (height, width))
    across = pool(slices.reshape(n, d, area, c), (depth, area))
    return across.reshape(n, depth, height, width, c).astype(x.dtype)
