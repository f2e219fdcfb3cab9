"""Windows of images."""

import mlx.core as mx

from lucid_fn import random
from lucid_fn.checks import check_count, to_sizes
from lucid_fn.data.augmentation.checks import (
    check_range,
    checked_shape,
    in_float32,
    to_dtype,
)
from lucid_fn.data.augmentation.rectangles import (
    Rectangles,
    between,
    draw_shapes,
    first_that_fits,
    place,
)
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key


def random_crop(key: Key, images: Array, *, padding: int = 4) -> Array:
    """Each image moved by up to `padding` pixels, and the gap filled with zeros.

    This is a window of the image's own size, out of the image with a border of zeros
    `padding` wide: all `(2 * padding + 1)**2` places are equally likely.

    Args:
        key: a key.
        images: any dtype, shape `(N, H, W, C)`.
        padding: width of the border in pixels, at least 0.

    Returns:
        Array of the shape and dtype of `images`.

    Raises:
        TypeError: if `key` is not a key, or `padding` is not an integer.
        ValueError: if `images` has not four axes, or `padding` is negative.

    Source: He et al., 2015, https://arxiv.org/abs/1512.03385, section 4.2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import data, random
        >>> data.random_crop(random.key(0), mx.ones((8, 32, 32, 3))).shape
        (8, 32, 32, 3)
    """
    n, height, width, _ = checked_shape("random_crop", key, images)
    padding = check_count("random_crop", "padding", padding, at_least=0)
    shift = random.randint(key, (n, 2), high=2 * padding + 1)
    border = (padding, padding)
    padded = mx.pad(images, [(0, 0), border, border, (0, 0)])
    rows = shift[:, :1] + mx.arange(height)  # (N, H)
    columns = shift[:, 1:] + mx.arange(width)  # (N, W)
    # One gather for each axis: of whole rows, then of pixels.
    padded = mx.take_along_axis(padded, rows[:, :, None, None], axis=1)
    return started(mx.take_along_axis(padded, columns[:, None, :, None], axis=2))


def random_resized_crop(
    key: Key,
    images: Array,
    size: int | tuple[int, int],
    *,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Array:
    """A random window of each image, resized to `size`.

    The area of the window, as a part of the image's, is uniform in `scale`, and the
    logarithm of width / height in that of `ratio`. All places inside of the image are
    equally likely. Of ten windows the first that fits is taken; if none does, the
    largest one in the middle whose ratio is allowed. It is resized by linear
    interpolation, antialiased where it becomes smaller.

    Args:
        key: a key.
        images: any dtype, shape `(N, H, W, C)`.
        size: height and width of the result, or one number for both.
        scale: least and largest area, in (0, 1].
        ratio: least and largest width / height, positive.

    Returns:
        Array of shape `(N, *size, C)` and the dtype of `images`.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if `images` has not four axes, or an argument is out of range.

    Source: Szegedy et al., 2014, https://arxiv.org/abs/1409.4842, section 6, with the
    distributions of torchvision's `RandomResizedCrop`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import data, random
        >>> images = mx.zeros((8, 48, 32, 3))
        >>> data.random_resized_crop(random.key(0), images, 24).shape
        (8, 24, 24, 3)
    """
    caller = "random_resized_crop"
    n, height, width, _ = checked_shape(caller, key, images)
    rows, columns = to_sizes(caller, "size", size, dims=2, at_least=1)
    scale = check_range(caller, "scale", scale, at_most=1)
    ratio = check_range(caller, "ratio", ratio)
    shape_key, place_key = random.split(key)
    widths, heights = draw_shapes(shape_key, n, height * width, scale, ratio)
    fits = mx.logical_and(
        between(heights, mx.array(1), height), between(widths, mx.array(1), width)
    )
    largest = _largest_window(height, width, ratio)
    sides = first_that_fits(heights, widths, fits, otherwise=largest)
    windows = place(place_key, *sides, (height, width))
    middle = _middle_if_largest(windows, fits, height, width)
    return started(resized_windows(images, middle, rows, columns))


def _largest_window(
    height: int, width: int, ratio: tuple[float, float]
) -> tuple[int, int]:
    """The sides of the largest window of an image whose width / height is allowed."""
    if width / height < ratio[0]:
        return min(height, round(width / ratio[0])), width
    if width / height > ratio[1]:
        return height, min(width, round(height * ratio[1]))
    return height, width


def _middle_if_largest(
    windows: Rectangles, fits: Array, height: int, width: int
) -> Rectangles:
    """The windows, those for which no candidate did fit in the middle."""
    some = mx.any(fits, axis=1, keepdims=True)
    return windows._replace(
        top=mx.where(some, windows.top, (height - windows.height) // 2),
        left=mx.where(some, windows.left, (width - windows.width) // 2),
    )


def resized_windows(
    images: Array, windows: Rectangles, rows: int, columns: int
) -> Array:
    """The windows of images, each resized to `(rows, columns)`.

    The interpolation is separable: a product with a matrix for each axis. It is that of
    `torch.nn.functional.interpolate` with `mode="bilinear"` and `antialias=True`.
    """
    n, height, width, channels = images.shape
    down = _weights(windows.top, windows.height, height, rows)  # (N, rows, H)
    across = _weights(windows.left, windows.width, width, columns)  # (N, columns, W)
    pixels = in_float32(images).reshape(n, height, width * channels)
    pixels = (down @ pixels).reshape(n, rows, width, channels)
    pixels = across[:, None] @ pixels  # (N, rows, columns, C)
    return to_dtype(pixels, images.dtype)


def _weights(start: Array, length: Array, size: int, out: int) -> Array:
    """What each of `size` pixels adds to each of `out`: `(N, out, size)`.

    The window is `length` pixels from `start` on, both `(N, 1)`. Around its centre an
    output pixel has a triangle of weights, two output pixels wide, but at least two
    input pixels.
    """
    step = length.astype(mx.float32) / out  # (N, 1): input pixels for an output pixel
    centres = (mx.arange(out) + 0.5) * step  # (N, out), from the window's start
    pixels = mx.arange(size) - start  # (N, size)
    inside = mx.logical_and(pixels >= 0, pixels < length)
    distances = mx.abs(pixels[:, None] + 0.5 - centres[..., None])  # (N, out, size)
    weights = mx.maximum(1 - distances / mx.maximum(step, 1.0)[..., None], 0)
    weights = mx.where(inside[:, None], weights, 0.0)
    return weights / mx.sum(weights, axis=-1, keepdims=True)
