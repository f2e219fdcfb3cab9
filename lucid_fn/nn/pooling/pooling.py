"""Pooling layers with windows of a given size, channels last."""

from collections.abc import Callable
from functools import partial

from lucid_fn import ops
from lucid_fn.checks import Sizes, check_bool, to_sizes
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.core.lift import lift
from lucid_fn.ops.pooling import MaxPoolOutput as MaxPoolOutput
from lucid_fn.types import Array


def max_pool2d(
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Layer:
    """2D max pooling, the largest value of each window: see `lucid_fn.ops.max_pool2d`.

    Args:
        size: height and width of the window, in pixels; one number for both.
        stride: pixels between windows; `size` if `None`.
        padding: minus infinities added on each side, at most half of `size`.
        dilation: pixels from one number of a window to the next.
        ceil_mode: whether windows may reach over the end of the padded image: sizes are
            rounded up instead of down.
        return_indices: whether the output is `nn.MaxPoolOutput(y, indices)`, which
            `nn.max_unpool2d` takes.

    Raises:
        ValueError: if an argument is out of range; on apply, if `x` does not have the
            shape `(N, H, W, C)` or is smaller than the window.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.max_pool2d(3, stride=2, padding=1)
        >>> pool.apply({}, {}, mx.ones((2, 7, 7, 4)), train=False)[0].shape
        (2, 4, 4, 4)
    """
    check_bool("max_pool2d", ceil_mode=ceil_mode, return_indices=return_indices)
    pool = partial(ops.max_pool2d, ceil_mode=ceil_mode, return_indices=return_indices)
    return pool_layer(2, pool, size, stride, padding=padding, dilation=dilation)


def max_pool1d(
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Layer:
    """`max_pool2d` for sequences `(N, L, C)`.

    Args:
        size: length of the window, in places.
        stride: places between windows; `size` if `None`.
        padding: minus infinities added on each side, at most half of `size`.
        dilation: places from one number of a window to the next.
        ceil_mode: whether windows may reach over the end; see `max_pool2d`.
        return_indices: whether the output has indices; see `max_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> nn.max_pool1d(2).apply({}, {}, mx.ones((2, 8, 4)), train=False)[0].shape
        (2, 4, 4)
    """
    check_bool("max_pool1d", ceil_mode=ceil_mode, return_indices=return_indices)
    pool = partial(ops.max_pool1d, ceil_mode=ceil_mode, return_indices=return_indices)
    return pool_layer(1, pool, size, stride, padding=padding, dilation=dilation)


def max_pool3d(
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Layer:
    """`max_pool2d` for volumes `(N, D, H, W, C)`; triples are (D, H, W).

    Args:
        size: depth, height and width of the window, in voxels; one number for all.
        stride: voxels between windows; `size` if `None`.
        padding: minus infinities added on each side, at most half of `size`.
        dilation: voxels from one number of a window to the next.
        ceil_mode: whether windows may reach over the end; see `max_pool2d`.
        return_indices: whether the output has indices; see `max_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.max_pool3d((1, 2, 2))
        >>> pool.apply({}, {}, mx.ones((2, 3, 4, 4, 1)), train=False)[0].shape
        (2, 3, 2, 2, 1)
    """
    check_bool("max_pool3d", ceil_mode=ceil_mode, return_indices=return_indices)
    pool = partial(ops.max_pool3d, ceil_mode=ceil_mode, return_indices=return_indices)
    return pool_layer(3, pool, size, stride, padding=padding, dilation=dilation)


def avg_pool2d(
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    count_include_pad: bool = True,
    ceil_mode: bool = False,
) -> Layer:
    """2D average pooling, the mean of each window: see `lucid_fn.ops.avg_pool2d`.

    Args:
        size: height and width of the window, in pixels; one number for both.
        stride: pixels between windows; `size` if `None`.
        padding: zeros added on each side, at most half of `size`.
        count_include_pad: whether the zeros count in the mean, as by default in
            PyTorch.
        ceil_mode: whether windows may reach over the end of the padded image, of which
            the mean is that of the part inside.

    Raises:
        ValueError: as `max_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> nn.avg_pool2d(2).apply({}, {}, mx.ones((2, 8, 8, 4)), train=False)[0].shape
        (2, 4, 4, 4)
    """
    check_bool("avg_pool2d", count_include_pad=count_include_pad, ceil_mode=ceil_mode)
    pool = partial(
        ops.avg_pool2d, count_include_pad=count_include_pad, ceil_mode=ceil_mode
    )
    return pool_layer(2, pool, size, stride, padding=padding)


def avg_pool1d(
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    count_include_pad: bool = True,
    ceil_mode: bool = False,
) -> Layer:
    """`avg_pool2d` for sequences `(N, L, C)`.

    Args:
        size: length of the window, in places.
        stride: places between windows; `size` if `None`.
        padding: zeros added on each side, at most half of `size`.
        count_include_pad: whether the zeros count in the mean.
        ceil_mode: whether windows may reach over the end; see `avg_pool2d`.

    Raises:
        ValueError: as `max_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> nn.avg_pool1d(2).apply({}, {}, mx.ones((2, 8, 4)), train=False)[0].shape
        (2, 4, 4)
    """
    check_bool("avg_pool1d", count_include_pad=count_include_pad, ceil_mode=ceil_mode)
    pool = partial(
        ops.avg_pool1d, count_include_pad=count_include_pad, ceil_mode=ceil_mode
    )
    return pool_layer(1, pool, size, stride, padding=padding)


def avg_pool3d(
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    count_include_pad: bool = True,
    ceil_mode: bool = False,
) -> Layer:
    """`avg_pool2d` for volumes `(N, D, H, W, C)`; triples are (D, H, W).

    Args:
        size: depth, height and width of the window, in voxels; one number for all.
        stride: voxels between windows; `size` if `None`.
        padding: zeros added on each side, at most half of `size`.
        count_include_pad: whether the zeros count in the mean.
        ceil_mode: whether windows may reach over the end; see `avg_pool2d`.

    Raises:
        ValueError: as `max_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pool = nn.avg_pool3d((1, 2, 2))
        >>> pool.apply({}, {}, mx.ones((2, 3, 4, 4, 1)), train=False)[0].shape
        (2, 3, 2, 2, 1)
    """
    check_bool("avg_pool3d", count_include_pad=count_include_pad, ceil_mode=ceil_mode)
    pool = partial(
        ops.avg_pool3d, count_include_pad=count_include_pad, ceil_mode=ceil_mode
    )
    return pool_layer(3, pool, size, stride, padding=padding)


def pool_layer(
    dims: int,
    pool: Callable[..., Array | MaxPoolOutput],
    size: Sizes,
    stride: Sizes | None,
    **others: Sizes,
) -> Layer:
    """The layer of a pooling function, with its arguments checked.

    Args:
        dims: number of spatial axes.
        pool: the function.
        size: as of the function.
        stride: as of the function.
        others: its `padding` and `dilation`, if it has them.
    """
    caller = getattr(pool, "func", pool).__name__
    window = to_sizes(caller, "size", size, dims=dims, at_least=1)
    strides = size if stride is None else stride
    options = {
        name: to_sizes(caller, name, value, dims=dims, at_least=int(name != "padding"))
        for name, value in {"stride": strides, **others}.items()
    }
    padding = options.get("padding", (0,) * dims)
    dilation = options.get("dilation", (1,) * dims)
    axes = zip(padding, dilation, window, strict=True)
    if any(2 * p > d * (k - 1) + 1 for p, d, k in axes):
        raise ValueError(
            f"{caller}: padding must be at most half of size, got {others['padding']} "
            f"and {size}"
        )

    def forward(x: Array) -> Array | MaxPoolOutput:
        return pool(x, size=window, **options)

    return lift(forward, examplewise=True)
