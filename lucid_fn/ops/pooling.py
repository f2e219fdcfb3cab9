"""Pooling over one, two or three spatial axes, channels last.

The geometry of windows, and their maxima and means, are in `ops/windows.py`.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol, cast, overload

import mlx.core as mx
import numpy as np

from lucid_fn.checks import (
    Sizes,
    check_array,
    check_axes,
    check_bool,
    check_float,
    check_narrow_float,
    check_number,
    check_size,
    to_sizes,
)
from lucid_fn.numerics import sum_rows
from lucid_fn.ops.input_checks import takes_array
from lucid_fn.ops.interpolate import take_indices
from lucid_fn.ops.seam import examplewise
from lucid_fn.ops.vectors import power_from_zero
from lucid_fn.ops.windows import (
    check_windows,
    counts,
    first_maxima,
    indices_in_image,
    lowest,
    max_by_slots,
    max_of_windows,
    mean_of_windows,
    padded_for_ceil_mode,
)
from lucid_fn.types import Array


class MaxPoolOutput(NamedTuple):
    """The result of max pooling with `return_indices=True`."""

    y: Array  # (N, *out, C)
    indices: Array  # (N, *out, C), int32


class MaxPool(Protocol):
    """The type of `max_pool1d`, `max_pool2d` and `max_pool3d`."""

    @overload
    def __call__(
        self,
        x: Array,
        size: Sizes,
        *,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
        return_indices: Literal[False] = False,
    ) -> Array: ...

    @overload
    def __call__(
        self,
        x: Array,
        size: Sizes,
        *,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
        return_indices: Literal[True],
    ) -> MaxPoolOutput: ...


def _examplewise(fn: Callable[..., Array | MaxPoolOutput]) -> MaxPool:
    return cast(MaxPool, examplewise(fn))


@_examplewise
def max_pool2d(
    x: Array,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | MaxPoolOutput:
    """The maximum of each window of an image, channel by channel.

    A window with a nan gives nan. The gradient goes to the first maximum of a window in
    row-major order, as in PyTorch.

    Args:
        x: float or integer, shape `(N, H, W, C)`.
        size: of the window, positive; a pair is (vertical, horizontal), also for
            `stride` and `padding`.
        stride: pixels from one window to the next, positive; `size` by default.
        padding: pixels of minus infinity added on each side, at most half of `size`.
        dilation: pixels from one element of a window to the next, positive.
        ceil_mode: whether to round the output size up: windows may extend beyond the
            padded image if they start before the padding at its end.
        return_indices: whether to return the indices of the maxima too, for
            `max_unpool2d`.

    Returns:
        Array of shape `(N, OH, OW, C)` and of the dtype of `x`, with
        `OH = (H + 2 * padding - dilation * (size - 1) - 1) // stride + 1`; or
        `nn.MaxPoolOutput(y, indices)`, with the index `row * W + column` of the element
        that gets the gradient of each window, int32.

    Raises:
        TypeError: if `x` is not float32, float16, bfloat16 or an integer array.
        ValueError: if `x` does not have 4 axes, or `size`, `stride` or `padding` is out
            of range or does not fit.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.arange(16, dtype=mx.float32).reshape(1, 4, 4, 1)
        >>> ops.max_pool2d(x, 2).squeeze()
        array([[5, 7],
               [13, 15]], dtype=float32)
        >>> ops.max_pool2d(x, 2, return_indices=True).indices.squeeze()
        array([[5, 7],
               [13, 15]], dtype=int32)
    """
    windows = size, stride, padding, dilation
    return _max_pool("max_pool2d", x, *windows, ceil_mode, return_indices, dims=2)


@_examplewise
def max_pool1d(
    x: Array,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | MaxPoolOutput:
    """Max pooling of sequences: see `max_pool2d`.

    Args:
        x: float, shape `(N, L, C)`.
        size: length of the window, in steps.
        stride: steps between windows; `size` if `None`.
        padding: minus infinities added on each side, at most half of `size`.
        dilation: steps from one element of a window to the next.
        ceil_mode: whether to round the output size up; see `max_pool2d`.
        return_indices: whether to return the indices too; see `max_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.max_pool1d(mx.ones((2, 8, 4)), 2).shape
        (2, 4, 4)
    """
    windows = size, stride, padding, dilation
    return _max_pool("max_pool1d", x, *windows, ceil_mode, return_indices, dims=1)


@_examplewise
def max_pool3d(
    x: Array,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Array | MaxPoolOutput:
    """Max pooling of volumes: see `max_pool2d`.

    Args:
        x: float, shape `(N, D, H, W, C)`.
        size: of the window, in voxels; a triple is (depth, height, width).
        stride: voxels between windows; `size` if `None`.
        padding: minus infinities added on each side, at most half of `size`.
        dilation: voxels from one element of a window to the next.
        ceil_mode: whether to round the output size up; see `max_pool2d`.
        return_indices: whether to return the indices too; see `max_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.max_pool3d(mx.ones((1, 2, 4, 4, 3)), (1, 2, 2)).shape
        (1, 2, 2, 2, 3)
    """
    windows = size, stride, padding, dilation
    return _max_pool("max_pool3d", x, *windows, ceil_mode, return_indices, dims=3)


@examplewise
def avg_pool2d(
    x: Array,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    count_include_pad: bool = True,
    ceil_mode: bool = False,
) -> Array:
    """The mean of each window of an image, channel by channel.

    Args:
        x: float, shape `(N, H, W, C)`; half-precision sums are accumulated in float32.
        size: of the window, positive; a pair is (vertical, horizontal), also for
            `stride` and `padding`.
        stride: pixels from one window to the next, positive; `size` by default.
        padding: zeros added on each side, at most half of `size`.
        count_include_pad: whether the zeros count; if `False`, the sum is divided by
            the number of pixels of `x` in the window.
        ceil_mode: as in `max_pool2d`; pixels beyond the padding are not counted.

    Returns:
        Array of shape `(N, OH, OW, C)`, `OH = (H + 2 * padding - size) // stride + 1`,
        and of the dtype of `x`.

    Raises:
        TypeError: if `x` is not float32, float16 or bfloat16.
        ValueError: if `x` does not have 4 axes, or `size`, `stride` or `padding` is out
            of range or does not fit.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.arange(16, dtype=mx.float32).reshape(1, 4, 4, 1)
        >>> ops.avg_pool2d(x, 2).squeeze()
        array([[2.5, 4.5],
               [10.5, 12.5]], dtype=float32)
    """
    return _avg_pool(
        "avg_pool2d", x, size, stride, padding, count_include_pad, ceil_mode, dims=2
    )


@examplewise
def avg_pool1d(
    x: Array,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    count_include_pad: bool = True,
    ceil_mode: bool = False,
) -> Array:
    """Average pooling of sequences: see `avg_pool2d`.

    Args:
        x: float, shape `(N, L, C)`.
        size: length of the window, in steps.
        stride: steps between windows; `size` if `None`.
        padding: zeros added on each side, at most half of `size`.
        count_include_pad: whether the zeros count in the mean.
        ceil_mode: whether to round the output size up; see `avg_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.avg_pool1d(mx.ones((2, 8, 4)), 2).shape
        (2, 4, 4)
    """
    return _avg_pool(
        "avg_pool1d", x, size, stride, padding, count_include_pad, ceil_mode, dims=1
    )


@examplewise
def avg_pool3d(
    x: Array,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    count_include_pad: bool = True,
    ceil_mode: bool = False,
) -> Array:
    """Average pooling of volumes: see `avg_pool2d`.

    Args:
        x: float, shape `(N, D, H, W, C)`.
        size: of the window, in voxels; a triple is (depth, height, width).
        stride: voxels between windows; `size` if `None`.
        padding: zeros added on each side, at most half of `size`.
        count_include_pad: whether the zeros count in the mean.
        ceil_mode: whether to round the output size up; see `avg_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.avg_pool3d(mx.ones((1, 2, 4, 4, 3)), (1, 2, 2)).shape
        (1, 2, 2, 2, 3)
    """
    return _avg_pool(
        "avg_pool3d", x, size, stride, padding, count_include_pad, ceil_mode, dims=3
    )


def _max_pool(
    name: str,
    x: Array,
    size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
    return_indices: bool,
    dims: int,
) -> Array | MaxPoolOutput:
    check_bool(name, ceil_mode=ceil_mode, return_indices=return_indices)
    check_array(name, x=x)
    integers = mx.issubdtype(x.dtype, mx.integer)
    if not integers:
        check_narrow_float(name, x=x)
    windows = check_windows(
        name, x, size, stride, padding, dims, dilation=dilation, ceil_mode=ceil_mode
    )
    sizes = windows.size
    if ceil_mode:
        # Each window starts inside of x, so what is added is never a maximum.
        x, windows = padded_for_ceil_mode(x, windows, lowest(x.dtype))
    by_slots = integers or any(step > 1 for step in windows.dilation)
    y = (max_by_slots if by_slots else max_of_windows)(x, windows)
    if not return_indices:
        return y
    _, slot = first_maxima(mx.stop_gradient(x), windows)
    return MaxPoolOutput(y, indices_in_image(slot, windows, sizes))


def _avg_pool(
    name: str,
    x: Array,
    size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    count_include_pad: bool,
    ceil_mode: bool,
    dims: int,
) -> Array:
    """Average pooling over `dims` spatial axes; errors begin with `name`."""
    check_bool(name, count_include_pad=count_include_pad, ceil_mode=ceil_mode)
    check_narrow_float(name, x=x)
    windows = check_windows(name, x, size, stride, padding, dims, ceil_mode=ceil_mode)
    if not ceil_mode:
        return mean_of_windows(x, windows, count_include_pad)
    longer, wider = padded_for_ceil_mode(x.astype(mx.float32), windows, 0.0)
    mean = mean_of_windows(longer, wider, True)
    # (*out, 1)
    share = wider.slots / counts(windows, wider.out, count_include_pad)
    return (mean * mx.array(share)).astype(x.dtype)


# ---- adaptive pooling ----


@examplewise
def adaptive_avg_pool2d(x: Array, output_size: int | tuple[int, int]) -> Array:
    """Average pooling to an output of a given size.

    The windows cover the image evenly: window `i` of `n` along an axis of length `H`
    starts at `floor(i * H / n)` and ends before `ceil((i + 1) * H / n)`. They overlap
    where `n` does not divide `H`.

    Args:
        x: float, shape `(N, H, W, C)`; half-precision sums are accumulated in float32.
        output_size: windows along both axes, or a pair (vertical, horizontal);
            positive.

    Returns:
        Array of shape `(N, *output_size, C)` and of the dtype of `x`.

    Raises:
        TypeError: if `x` is not float32, float16 or bfloat16.
        ValueError: if `x` does not have 4 axes, or has no pixels, or `output_size` is
            not positive.

    Source: PyTorch's `AdaptiveAvgPool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.arange(5, dtype=mx.float32).reshape(1, 1, 5, 1)
        >>> ops.adaptive_avg_pool2d(x, (1, 2)).squeeze()
        array([1, 3], dtype=float32)
    """
    size = _output_size("adaptive_avg_pool2d", x, output_size)
    even, window, counts = _even_windows(x.astype(mx.float32), size, fill=0.0)
    return (avg_pool2d(even, window) * (math.prod(window) / counts)).astype(x.dtype)


@examplewise
def adaptive_max_pool2d(x: Array, output_size: int | tuple[int, int]) -> Array:
    """Max pooling to an output of a given size.

    The windows are those of `adaptive_avg_pool2d`. The gradient goes to the first
    maximum of a window in row-major order; a window with a nan gives nan.

    Args:
        x: float, shape `(N, H, W, C)`.
        output_size: windows along both axes, or a pair (vertical, horizontal);
            positive.

    Returns:
        Array of shape `(N, *output_size, C)` and of the dtype of `x`.

    Raises:
        TypeError: if `x` is not float32, float16 or bfloat16.
        ValueError: if `x` does not have 4 axes, or has no pixels, or `output_size` is
            not positive.

    Source: PyTorch's `AdaptiveMaxPool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.arange(5, dtype=mx.float32).reshape(1, 1, 5, 1)
        >>> ops.adaptive_max_pool2d(x, (1, 2)).squeeze()
        array([2, 4], dtype=float32)
    """
    size = _output_size("adaptive_max_pool2d", x, output_size)
    even, window, _ = _even_windows(x, size, fill=-math.inf)
    return max_pool2d(even, window)


def _even_windows(
    x: Array, output_size: tuple[int, int], fill: float
) -> tuple[Array, tuple[int, int], Array]:
    """Copies the windows next to each other, filled up with `fill` to one size.

    Returns an array `(N, OH * KH, OW * KW, C)`, the size `(KH, KW)`, and the number of
    pixels of `x` in each window, `(OH, OW, 1)`.
    """
    counts: np.ndarray = np.ones((), np.float32)
    window = []
    for axis, outputs in enumerate(output_size, start=1):
        length = x.shape[axis]
        i = np.arange(outputs)
        start, end = i * length // outputs, -(-(i + 1) * length // outputs)
        longest = int((end - start).max())
        window.append(longest)
        counts = counts[..., None] * (end - start)
        if length % outputs == 0:
            continue
        width = [(0, 0)] * x.ndim
        width[axis] = (0, 1)
        x = mx.pad(x, width, constant_values=mx.array(fill, x.dtype))
        at = start[:, None] + np.arange(longest)
        x = take_indices(x, np.where(at < end[:, None], at, length).ravel(), axis)
    return x, (window[0], window[1]), mx.array(counts[..., None], mx.float32)


def _output_size(
    name: str, x: Array, output_size: int | tuple[int, int]
) -> tuple[int, int]:
    check_narrow_float(name, x=x)
    check_axes(name, x, 2, least=1)
    rows, columns = to_sizes(name, "output_size", output_size, dims=2, at_least=1)
    check_size(name, "output_size", (x.shape[0], rows, columns, x.shape[-1]))
    return rows, columns


# ---- global pooling ----


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
    return _global_mean("global_avg_pool1d", x, dims=1)


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
        ValueError: if `x` has the wrong number of axes, or an empty spatial axis.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.global_avg_pool2d(mx.arange(8.0).reshape(1, 2, 2, 2))
        array([[3, 4]], dtype=float32)
    """
    return _global_mean("global_avg_pool2d", x, dims=2)


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
    return _global_mean("global_avg_pool3d", x, dims=3)


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
    return _global_max("global_max_pool1d", x, dims=1)


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
    return _global_max("global_max_pool2d", x, dims=2)


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
    return _global_max("global_max_pool3d", x, dims=3)


def _global_mean(name: str, x: Array, *, dims: int) -> Array:
    rows = _flattened(name, x, dims)
    return (sum_rows(rows) / rows.shape[1]).astype(x.dtype)


def _global_max(name: str, x: Array, *, dims: int) -> Array:
    rows = _flattened(name, x, dims)
    nan_first = mx.where(mx.isnan(rows), mx.array(math.inf, x.dtype), rows)
    if rows.size == 0:  # of which MLX has no maximum
        return rows.sum(axis=1)
    at = mx.argmax(mx.stop_gradient(nan_first), axis=1, keepdims=True)
    # Not mx.max, which divides the gradient among equal numbers.
    return mx.take_along_axis(rows, at, axis=1).squeeze(1)


def _flattened(name: str, x: Array, dims: int) -> Array:
    """`x` with its spatial axes flattened, `(N, positions, C)`."""
    check_float(name, x=x)
    check_axes(name, x, dims, least=1)
    return x.reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])


# ---- power-average pooling ----


@examplewise
def lp_pool2d(
    x: Array,
    p: float,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The p-norm of each window of an image, channel by channel.

    `sum(x ** p) ** (1 / p)`. The limit of large `p` is max pooling, and `p = 1` is sum
    pooling. Where the sum is 0 the gradient is 0.

    Args:
        x: float, shape `(N, H, W, C)`; the root of a negative sum is nan.
        p: the exponent, positive.
        size: of the window, positive; a pair is (vertical, horizontal).
        stride: pixels from one window to the next, positive; `size` by default.
        ceil_mode: whether to round the output size up, as in `avg_pool2d`.

    Returns:
        Array of shape `(N, OH, OW, C)` and of the dtype of `x`, with
        `OH = (H - size) // stride + 1`.

    Raises:
        TypeError: if `x` is not float32, float16 or bfloat16.
        ValueError: if `x` does not have 4 axes, `p` is not positive, or `size` or
            `stride` is out of range.

    Source: `torch.nn.functional.lp_pool2d`. As there, windows that extend beyond the
    image are weighted as if they were whole.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.array([3.0, 4.0, 0.0, 5.0]).reshape(1, 2, 2, 1)
        >>> ops.lp_pool2d(x, 2, (1, 2)).flatten()
        array([5, 5], dtype=float32)
    """
    return _lp_pool("lp_pool2d", x, p, size, stride, ceil_mode, dims=2)


@examplewise
def lp_pool1d(
    x: Array,
    p: float,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The p-norm of each window of a sequence: see `lp_pool2d`.

    Args:
        x: float, shape `(N, L, C)`; the root of a negative sum is nan.
        p: the exponent, positive.
        size: of the window, positive.
        stride: steps from one window to the next, positive; `size` by default.
        ceil_mode: whether to round the output size up, as in `avg_pool1d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.lp_pool1d(mx.ones((2, 8, 4)), 2, 2).shape
        (2, 4, 4)
    """
    return _lp_pool("lp_pool1d", x, p, size, stride, ceil_mode, dims=1)


@examplewise
def lp_pool3d(
    x: Array,
    p: float,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The p-norm of each window of a volume: see `lp_pool2d`.

    Args:
        x: float, shape `(N, D, H, W, C)`; the root of a negative sum is nan.
        p: the exponent, positive.
        size: of the window, positive; a triple is (depth, height, width).
        stride: voxels from one window to the next, positive; `size` by default.
        ceil_mode: whether to round the output size up, as in `avg_pool3d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.lp_pool3d(mx.ones((1, 4, 4, 4, 2)), 2, 2).shape
        (1, 2, 2, 2, 2)
    """
    return _lp_pool("lp_pool3d", x, p, size, stride, ceil_mode, dims=3)


def _lp_pool(
    name: str,
    x: Array,
    p: float,
    size: Sizes,
    stride: Sizes | None,
    ceil_mode: bool,
    dims: int,
) -> Array:
    check_bool(name, ceil_mode=ceil_mode)
    p = check_number(name, "p", p, above=0)
    check_narrow_float(name, x=x)
    window = to_sizes(name, "size", size, dims=dims, at_least=1)
    x32 = x.astype(mx.float32)
    powers = x32 if p == 1 else mx.power(x32, p)  # whose second slope is nan at 0
    mean = _avg_pool(name, powers, window, stride, 0, True, ceil_mode, dims)
    return power_from_zero(mean * math.prod(window), 1 / p).astype(x.dtype)


# ---- max unpooling ----


def max_unpool2d(
    x: Array,
    indices: Array,
    size: Sizes,
    *,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sizes | None = None,
) -> Array:
    """Max unpooling: puts maxima back to where max pooling found them, among zeros.

    `y[n, indices[n, i, j, c], c] = x[n, i, j, c]`, with the pixels of `y` flattened. If
    an index occurs several times, because windows overlapped, one of the values is
    taken; each of them gets the gradient of the pixel.

    Args:
        x: float, shape `(N, H, W, C)`.
        indices: integers of the shape of `x`, as `max_pool2d` returns them with
            `return_indices=True`. An index out of range makes its channel nan.
        size: of the windows of the pooling, positive; a pair is (vertical, horizontal).
        stride: of the pooling; `size` by default.
        padding: of the pooling.
        output_size: height and width of the output, since several sizes are pooled to
            one. It differs by less than `stride` from the default,
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
    _check_indices(name, x, indices, dims)
    kernel = to_sizes(name, "size", size, dims=dims, at_least=1)
    strides = to_sizes(
        name, "stride", kernel if stride is None else stride, dims=dims, at_least=1
    )
    pads = to_sizes(name, "padding", padding, dims=dims, at_least=0)
    axes = zip(x.shape[1:-1], kernel, strides, pads, strict=True)
    sizes = tuple((n - 1) * s - 2 * p + k for n, k, s, p in axes)
    if output_size is not None:
        sizes = _unpooled_size(name, output_size, sizes, strides)
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
    index = indices.reshape(n, -1, channels).astype(mx.int64)
    fits = (index >= 0) & (index < pixels)
    index = mx.where(fits, index, 0).astype(mx.int32)  # MLX does not check them
    zeros = mx.zeros((n, pixels, channels), x.dtype)
    y = mx.put_along_axis(zeros, index, x.reshape(index.shape), axis=1)
    y = mx.where(mx.all(fits, axis=1, keepdims=True), y, mx.array(math.nan, x.dtype))
    return y.reshape(n, *sizes, channels)


def _check_indices(name: str, x: Array, indices: Array, dims: int) -> None:
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


def _unpooled_size(
    name: str, output_size: Sizes, sizes: tuple[int, ...], strides: tuple[int, ...]
) -> tuple[int, ...]:
    """`output_size` as a tuple; raises unless pooling it gives these windows."""
    wanted = to_sizes(name, "output_size", output_size, dims=len(sizes), at_least=1)
    if any(abs(a - b) >= s for a, b, s in zip(wanted, sizes, strides, strict=True)):
        raise ValueError(
            f"{name}: output_size must differ by less than stride, {strides}, from the "
            f"default of {sizes}, got {wanted}; give the size that was pooled"
        )
    return wanted
