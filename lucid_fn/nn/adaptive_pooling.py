"""Pooling layers with an output of a given size, channels last."""

from collections.abc import Callable

import mlx.core as mx

from lucid_fn import ops
from lucid_fn.checks import check_array, check_float, to_sizes
from lucid_fn.nn.layer import Layer, lift
from lucid_fn.ops.seam import accepts_divided
from lucid_fn.types import Array


def adaptive_avg_pool2d(output_size: int | tuple[int, int]) -> Layer:
    """Means of as many windows as given: see `lucid_fn.ops.adaptive_avg_pool2d`.

    Args:
        output_size: height and width of the output; one number for both.

    Raises:
        ValueError: if a size is not positive; on apply, if `x` has not the shape
            `(N, H, W, C)`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.adaptive_avg_pool2d((1, 3))
        >>> pool.apply({}, {}, mx.ones((2, 7, 5, 4)), train=False)[0].shape
        (2, 1, 3, 4)
    """
    return _pool2d(ops.adaptive_avg_pool2d, output_size)


def adaptive_max_pool2d(output_size: int | tuple[int, int]) -> Layer:
    """Maxima of as many windows as given: see `lucid_fn.ops.adaptive_max_pool2d`.

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
    return _pool2d(ops.adaptive_max_pool2d, output_size)


def adaptive_avg_pool1d(output_size: int) -> Layer:
    """`adaptive_avg_pool2d` for sequences `(N, L, C)`.

    Args:
        output_size: length of the output.

    Raises:
        ValueError: as `adaptive_avg_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.adaptive_avg_pool1d(3)
        >>> pool.apply({}, {}, mx.ones((2, 7, 4)), train=False)[0].shape
        (2, 3, 4)
    """
    return _pool1d("adaptive_avg_pool1d", ops.adaptive_avg_pool2d, output_size)


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
    return _pool1d("adaptive_max_pool1d", ops.adaptive_max_pool2d, output_size)


def adaptive_avg_pool3d(output_size: int | tuple[int, int, int]) -> Layer:
    """`adaptive_avg_pool2d` for volumes `(N, D, H, W, C)`; triples are (D, H, W).

    Args:
        output_size: depth, height and width of the output; one number for all.

    Raises:
        ValueError: as `adaptive_avg_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.adaptive_avg_pool3d((1, 2, 3))
        >>> pool.apply({}, {}, mx.ones((2, 3, 4, 5, 1)), train=False)[0].shape
        (2, 1, 2, 3, 1)
    """
    name = "adaptive_avg_pool3d"
    size = to_sizes(name, "output_size", output_size, dims=3, at_least=1)

    def forward(x: Array) -> Array:
        check_float(name, x=x)
        pooled = _by_slices(name, ops.adaptive_avg_pool2d, x.astype(mx.float32), size)
        return pooled.astype(x.dtype)

    return lift(forward)


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
    size = to_sizes(name, "output_size", output_size, dims=3, at_least=1)
    return lift(lambda x: _by_slices(name, ops.adaptive_max_pool2d, x, size))


def _pool2d(
    pool: Callable[[Array, tuple[int, int]], Array],
    output_size: int | tuple[int, int],
) -> Layer:
    rows, columns = to_sizes(
        pool.__name__, "output_size", output_size, dims=2, at_least=1
    )

    @accepts_divided
    def forward(x: Array) -> Array:
        return pool(x, (rows, columns))

    return lift(forward)


def _pool1d(
    caller: str, pool: Callable[[Array, tuple[int, int]], Array], output_size: int
) -> Layer:
    """A pool of sequences, as images of one row."""
    (length,) = to_sizes(caller, "output_size", output_size, dims=1, at_least=1)

    def forward(x: Array) -> Array:
        check_float(caller, x=x)
        if x.ndim != 3:
            raise ValueError(f"{caller}: x must have shape (N, L, C), got {x.shape}")
        return mx.squeeze(pool(x[:, None], (1, length)), 1)

    return lift(forward)


def _by_slices(
    name: str,
    pool: Callable[[Array, tuple[int, int]], Array],
    x: Array,
    size: tuple[int, ...],
) -> Array:
    """A pool of volumes: first of each slice, then across them."""
    check_array(name, x=x)
    if x.ndim != 5 or 0 in x.shape[1:4]:
        raise ValueError(
            f"{name}: x must have shape (N, D, H, W, C) with voxels, got {x.shape}"
        )
    n, d, h, w, c = x.shape
    area = size[1] * size[2]
    slices = pool(x.reshape(n * d, h, w, c), (size[1], size[2]))
    across = pool(slices.reshape(n, d, area, c), (size[0], area))
    return across.reshape(n, *size, c)
