"""Max and average pooling, channels last; the maths is in `ops/windows.py`."""

from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol, cast, overload

import mlx.core as mx

from lucid_fn.checks import Sizes, check_array, check_bool, check_narrow_float
from lucid_fn.ops.seam import examplewise
from lucid_fn.ops.windows import (
    check_windows,
    counts,
    first_maxima,
    indices_in_image,
    least,
    lengthened,
    max_by_slots,
    max_of_windows,
    mean_of_windows,
)
from lucid_fn.types import Array


class MaxPoolOutput(NamedTuple):
    """What max pooling returns with `return_indices=True`."""

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
        dilation: pixels from one number of a window to the next, positive.
        ceil_mode: whether windows may reach over the end of the padded image, as long
            as they begin before the padding after it: sizes are rounded up.
        return_indices: whether to return where the maxima are too, as `max_unpool2d`
            takes it.

    Returns:
        Array of shape `(N, OH, OW, C)` and of the dtype of `x`, with
        `OH = (H + 2 * padding - dilation * (size - 1) - 1) // stride + 1`; or
        `nn.MaxPoolOutput(y, indices)`, with the index `row * W + column` of the number
        that each window passes its gradient to, int32.

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
        size: length of the window, in places.
        stride: places between windows; `size` if `None`.
        padding: minus infinities added on each side, at most half of `size`.
        dilation: places from one number of a window to the next.
        ceil_mode: whether windows may reach over the end; see `max_pool2d`.
        return_indices: whether to return where the maxima are too; see `max_pool2d`.

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
        dilation: voxels from one number of a window to the next.
        ceil_mode: whether windows may reach over the end; see `max_pool2d`.
        return_indices: whether to return where the maxima are too; see `max_pool2d`.

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
        ceil_mode: as in `max_pool2d`; what is beyond the padding is not counted.

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
    return average(
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
        size: length of the window, in places.
        stride: places between windows; `size` if `None`.
        padding: zeros added on each side, at most half of `size`.
        count_include_pad: whether the zeros count in the mean.
        ceil_mode: whether windows may reach over the end; see `avg_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.avg_pool1d(mx.ones((2, 8, 4)), 2).shape
        (2, 4, 4)
    """
    return average(
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
        ceil_mode: whether windows may reach over the end; see `avg_pool2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.avg_pool3d(mx.ones((1, 2, 4, 4, 3)), (1, 2, 2)).shape
        (1, 2, 2, 2, 3)
    """
    return average(
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
        # Each window begins with a number of x: what is added wins none of them.
        x, windows = lengthened(x, windows, least(x.dtype))
    by_slots = integers or any(step > 1 for step in windows.dilation)
    y = (max_by_slots if by_slots else max_of_windows)(x, windows)
    if not return_indices:
        return y
    _, slot = first_maxima(mx.stop_gradient(x), windows)
    return MaxPoolOutput(y, indices_in_image(slot, windows, sizes))


def average(
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
    longer, wider = lengthened(x.astype(mx.float32), windows, 0.0)
    mean = mean_of_windows(longer, wider, True)
    # (*out, 1)
    share = wider.slots / counts(windows, wider.out, count_include_pad)
    return (mean * mx.array(share)).astype(x.dtype)
