"""Max unpooling over one, two or three spatial axes, channels last."""

import math

import mlx.core as mx

from lucid_fn.checks import (
    Sizes,
    check_array,
    check_axes,
    check_float,
    check_size,
    to_sizes,
)
from lucid_fn.types import Array


def max_unpool2d(
    x: Array,
    indices: Array,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sizes | None = None,
) -> Array:
    """Max unpooling: each number goes back to where max pooling found it, among zeros.

    `y[n, indices[n, i, j, c], c] = x[n, i, j, c]`, with the pixels of `y` in one row.
    Where windows overlapped and an index is there several times, one of its numbers is
    taken; each of them gets the gradient of the pixel.

    Args:
        x: float, shape `(N, H, W, C)`.
        indices: integers of the shape of `x`, as `max_pool2d` returns them with
            `return_indices=True`. An index that is not a pixel of the output makes its
            channel nan.
        size: of the windows of the pooling, positive; a pair is (vertical, horizontal).
        stride: of the pooling; `size` by default.
        padding: of the pooling.
        output_size: height and width of the output, as several sizes are pooled to one:
            less than `stride` more or less than the default,
            `(H - 1) * stride - 2 * padding + size`.

    Returns:
        Array of shape `(N, *output_size, C)` and of the dtype of `x`.

    Raises:
        TypeError: if `x` is not of a float dtype, or `indices` not of an integer one.
        ValueError: if `x` does not have 4 axes, `indices` has another shape, or a size
            is out of range.

    Source: Zeiler & Fergus, 2013, https://arxiv.org/abs/1311.2901, section 2.1;
    `torch.nn.functional.max_unpool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.array([1.0, 4.0, 2.0, 3.0]).reshape(1, 1, 4, 1)
        >>> y, indices = ops.max_pool2d(x, (1, 2), return_indices=True)
        >>> ops.max_unpool2d(y, indices, (1, 2)).flatten()
        array([0, 4, 0, 3], dtype=float32)
    """
    windows = size, stride, padding
    return _max_unpool("max_unpool2d", x, indices, *windows, output_size, dims=2)


def max_unpool1d(
    x: Array,
    indices: Array,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sizes | None = None,
) -> Array:
    """Max unpooling of sequences: see `max_unpool2d`.

    Args:
        x: float, shape `(N, L, C)`.
        indices: integers of the shape of `x`, from `max_pool1d`.
        size: length of the windows of the pooling.
        stride: of the pooling; `size` by default.
        padding: of the pooling.
        output_size: length of the output; see `max_unpool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> y, indices = ops.max_pool1d(mx.ones((2, 9, 4)), 2, return_indices=True)
        >>> ops.max_unpool1d(y, indices, 2, output_size=9).shape
        (2, 9, 4)
    """
    windows = size, stride, padding
    return _max_unpool("max_unpool1d", x, indices, *windows, output_size, dims=1)


def max_unpool3d(
    x: Array,
    indices: Array,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sizes | None = None,
) -> Array:
    """Max unpooling of volumes: see `max_unpool2d`.

    Args:
        x: float, shape `(N, D, H, W, C)`.
        indices: integers of the shape of `x`, from `max_pool3d`.
        size: of the windows of the pooling; a triple is (depth, height, width).
        stride: of the pooling; `size` by default.
        padding: of the pooling.
        output_size: depth, height and width of the output; see `max_unpool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.ones((1, 2, 4, 4, 3))
        >>> y, indices = ops.max_pool3d(x, 2, return_indices=True)
        >>> ops.max_unpool3d(y, indices, 2).shape
        (1, 2, 4, 4, 3)
    """
    windows = size, stride, padding
    return _max_unpool("max_unpool3d", x, indices, *windows, output_size, dims=3)


def _max_unpool(
    name: str,
    x: Array,
    indices: Array,
    size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    output_size: Sizes | None,
    dims: int,
) -> Array:
    _check_arrays(name, x, indices, dims)
    kernel = to_sizes(name, "size", size, dims=dims, at_least=1)
    strides = to_sizes(
        name, "stride", kernel if stride is None else stride, dims=dims, at_least=1
    )
    pads = to_sizes(name, "padding", padding, dims=dims, at_least=0)
    axes = zip(x.shape[1:-1], kernel, strides, pads, strict=True)
    sizes = tuple((n - 1) * s - 2 * p + k for n, k, s, p in axes)
    if output_size is not None:
        sizes = _near(name, output_size, sizes, strides)
    elif min(sizes) < 1:
        raise ValueError(
            f"{name}: the output must not be empty, got a size of {sizes} for x of "
            f"shape {x.shape}; give the output_size that was pooled"
        )
    n, channels, pixels = x.shape[0], x.shape[-1], math.prod(sizes)
    check_size(name, "output_size", (n, *sizes, channels))
    if x.size == 0:
        return mx.zeros((n, *sizes, channels), x.dtype)
    # (N, H, W, C) to (N, H * W, C); in 64 bits: 256 would be 0 among bytes
    places = indices.reshape(n, -1, channels).astype(mx.int64)
    fits = (places >= 0) & (places < pixels)
    places = mx.where(fits, places, 0).astype(mx.int32)  # MLX does not check them
    zeros = mx.zeros((n, pixels, channels), x.dtype)
    y = mx.put_along_axis(zeros, places, x.reshape(places.shape), axis=1)
    y = mx.where(mx.all(fits, axis=1, keepdims=True), y, mx.array(math.nan, x.dtype))
    return y.reshape(n, *sizes, channels)


def _check_arrays(name: str, x: Array, indices: Array, dims: int) -> None:
    check_float(name, x=x)
    check_array(name, indices=indices)
    if not mx.issubdtype(indices.dtype, mx.integer):
        raise TypeError(
            f"{name}: indices must be integers, got {indices.dtype}; max_pool{dims}d "
            "returns them with return_indices=True"
        )
    check_axes(name, x, dims)
    if indices.shape != x.shape:
        raise ValueError(
            f"{name}: indices must have the shape of x, {x.shape}, got {indices.shape}"
        )


def _near(
    name: str, output_size: Sizes, sizes: tuple[int, ...], strides: tuple[int, ...]
) -> tuple[int, ...]:
    """The output size, if pooling it may have given as many windows as there are."""
    wanted = to_sizes(name, "output_size", output_size, dims=len(sizes), at_least=1)
    if any(abs(a - b) >= s for a, b, s in zip(wanted, sizes, strides, strict=True)):
        raise ValueError(
            f"{name}: output_size must be less than stride, {strides}, from the "
            f"default of {sizes}, got {wanted}; give the size that was pooled"
        )
    return wanted
