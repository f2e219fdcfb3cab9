"""`unfold` and `fold` (im2col and col2im), channels last."""

import operator
from functools import reduce
from itertools import product

import mlx.core as mx

from lucid_fn.checks import (
    Sizes,
    check_array,
    check_axes,
    check_size,
    shape_error,
    to_sizes,
)
from lucid_fn.ops.windows import Windows, gather_slots
from lucid_fn.types import Array


def unfold(
    x: Array,
    size: Sizes,
    *,
    stride: Sizes = 1,
    padding: Sizes = 0,
    dilation: Sizes = 1,
) -> Array:
    """Each window of an image as a vector (im2col).

    Args:
        x: any dtype, shape `(N, H, W, C)`.
        size: of the window, positive; a pair is (vertical, horizontal).
        stride: pixels from one window to the next, positive.
        padding: zeros added on each side.
        dilation: pixels from one element of a window to the next, positive.

    Returns:
        Array of shape `(N, L, C * KH * KW)` and of the dtype of `x`, with the `L`
        windows in row-major order. A vector has the order of an array `(C, KH, KW)`, as
        in PyTorch.

    Raises:
        TypeError: if `x` is not an array.
        ValueError: if `x` does not have 4 axes, or a size is out of range or does not
            fit.

    Source: `torch.nn.functional.unfold`, which returns `(N, C * KH * KW, L)`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.arange(6.0).reshape(1, 2, 3, 1)
        >>> ops.unfold(x, 2)
        array([[[0, 1, 3, 4],
                [1, 2, 4, 5]]], dtype=float32)
    """
    check_array("unfold", x=x)
    check_axes("unfold", x, 2)
    sizes = (x.shape[1], x.shape[2])
    windows = _windows("unfold", sizes, size, stride, padding, dilation)
    features = x.shape[-1] * windows.slots
    count = windows.out[0] * windows.out[1]
    check_size("unfold", "size and padding", (x.shape[0], count, features))
    slots = mx.stack(gather_slots(x, windows, 0), axis=-1)  # (N, OH, OW, C, KH * KW)
    return slots.reshape(x.shape[0], count, features)


def fold(
    x: Array,
    output_size: Sizes,
    size: Sizes,
    *,
    stride: Sizes = 1,
    padding: Sizes = 0,
    dilation: Sizes = 1,
) -> Array:
    """Sums windows into an image (col2im): the transpose of `unfold`.

    `fold(unfold(x))` is `x` times the number of windows that each pixel is in.

    Args:
        x: float, shape `(N, L, C * KH * KW)`, as `unfold` returns it.
        output_size: height and width of the image.
        size: as of `unfold`.
        stride: as of `unfold`.
        padding: as of `unfold`.
        dilation: as of `unfold`.

    Returns:
        Array of shape `(N, H, W, C)` and of the dtype of `x`.

    Raises:
        TypeError: if `x` is not an array.
        ValueError: if `x` does not have the shape that `unfold` returns for these
            sizes, or a size is out of range.

    Source: `torch.nn.functional.fold`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> windows = ops.unfold(mx.ones((1, 2, 3, 1)), 2)
        >>> ops.fold(windows, (2, 3), 2).squeeze()
        array([[1, 2, 1],
               [1, 2, 1]], dtype=float32)
    """
    check_array("fold", x=x)
    height, width = to_sizes("fold", "output_size", output_size, dims=2, at_least=1)
    windows = _windows("fold", (height, width), size, stride, padding, dilation)
    rows, columns = windows.out
    if x.ndim != 3 or x.shape[1] != rows * columns or x.shape[2] % windows.slots:
        shape = (
            f"(N, {rows * columns}, C * {windows.slots}), one vector for each window"
        )
        raise shape_error("fold", "x", x, shape, axes=3)
    channels = x.shape[2] // windows.slots
    check_size("fold", "output_size", (x.shape[0], height, width, channels))
    slots = x.reshape(x.shape[0], rows, columns, channels, windows.slots)
    terms = [
        _at_slot(slots[..., index], windows, slot)
        for index, slot in enumerate(product(*map(range, windows.kernel)))
    ]
    top, left = windows.padding
    return reduce(operator.add, terms)[:, top : top + height, left : left + width]


def _at_slot(x: Array, windows: Windows, slot: tuple[int, ...]) -> Array:
    """`x` at the positions of a slot of the windows, in zeros of the padded size."""
    for axis in (1, 2):
        index = axis - 1
        stride, offset = windows.stride[index], slot[index] * windows.dilation[index]
        padded = windows.size[index] + 2 * windows.padding[index]
        reach = (x.shape[axis] - 1) * stride + 1
        # (..., OH, ...) to (..., OH, stride, ...), where all but the first are zeros
        x = _padded(mx.expand_dims(x, axis + 1), axis + 1, 0, stride - 1)
        x = mx.flatten(x, axis, axis + 1)
        x = x[:, :reach] if axis == 1 else x[:, :, :reach]
        x = _padded(x, axis, offset, padded - offset - reach)
    return x


def _padded(x: Array, axis: int, before: int, after: int) -> Array:
    width = [(0, 0)] * x.ndim
    width[axis] = before, after
    return mx.pad(x, width)


def _windows(
    caller: str,
    image: tuple[int, int],
    size: Sizes,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
) -> Windows:
    given = {"size": size, "stride": stride, "padding": padding, "dilation": dilation}
    kernel, strides, added, steps = (
        to_sizes(caller, name, value, dims=2, at_least=int(name != "padding"))
        for name, value in given.items()
    )
    windows = Windows(image, kernel, strides, added, steps)
    if min(windows.out) < 1:
        raise ValueError(
            f"{caller}: size must be at most that of the padded image, got a window of "
            f"{windows.extent}, an image of {image} and padding {padding}"
        )
    return windows
