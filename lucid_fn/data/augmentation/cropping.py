"""Random crops."""

import mlx.core as mx

from lucid_fn import random
from lucid_fn.checks import check_count, to_sizes
from lucid_fn.data.augmentation.checks import (
    check_images,
    check_range,
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
    """Shift each image by up to `padding` pixels, filling the gap with zeros.

    The image is padded with zeros by `padding` pixels on each side, then a window of
    its original size is cropped; all `(2 * padding + 1)**2` positions are equally
    likely.

    Args:
        key: a key.
        images: any dtype, shape `(N, H, W, C)`.
        padding: width of the border in pixels, at least 0.

    Returns:
        Array of the shape and dtype of `images`.

    Raises:
        TypeError: if `key` is not a key, or `padding` is not an integer.
        ValueError: if `images` does not have four axes, or `padding` is negative.

    Source: He et al., 2015, https://arxiv.org/abs/1512.03385, section 4.2.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import data, random
        >>> data.random_crop(random.key(0), mx.ones((8, 32, 32, 3))).shape
        (8, 32, 32, 3)
    """
    n, height, width, _ = check_images("random_crop", key, images)
    padding = check_count("random_crop", "padding", padding, at_least=0)
    shift = random.randint(key, (n, 2), high=2 * padding + 1)
    border = (padding, padding)
    padded = mx.pad(images, [(0, 0), border, border, (0, 0)])
    rows = shift[:, :1] + mx.arange(height)  # (N, H)
    columns = shift[:, 1:] + mx.arange(width)  # (N, W)
    # One gather per axis: whole rows first, then pixels.
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
    """Crop a random window of each image and resize it to `size`.

    The window's area is a fraction of the image's, uniform in `scale`; its aspect ratio
    width / height is log-uniform in `ratio`. All positions inside the image are equally
    likely. Of ten candidates the first that fits is used; if none does, the largest
    centered window with an allowed ratio. Resizing is bilinear, with antialiasing where
    it shrinks.

    Args:
        key: a key.
        images: any dtype, shape `(N, H, W, C)`.
        size: height and width of the result, or one integer for both.
        scale: smallest and largest area fraction, in (0, 1].
        ratio: smallest and largest width / height, positive.

    Returns:
        Array of shape `(N, *size, C)` and the dtype of `images`.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if `images` does not have four axes, or an argument is out of range.

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
    n, height, width, _ = check_images(caller, key, images)
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
    windows = _center_fallbacks(windows, fits, height, width)
    return started(resized_windows(images, windows, rows, columns))


def _largest_window(
    height: int, width: int, ratio: tuple[float, float]
) -> tuple[int, int]:
    """Height and width of the largest window with an allowed width / height."""
    if width / height < ratio[0]:
        return min(height, round(width / ratio[0])), width
    if width / height > ratio[1]:
        return height, min(width, round(height * ratio[1]))
    return height, width


def _center_fallbacks(
    windows: Rectangles, fits: Array, height: int, width: int
) -> Rectangles:
    """Center the windows of the images for which no candidate fits."""
    some = mx.any(fits, axis=1, keepdims=True)
    return windows._replace(
        top=mx.where(some, windows.top, (height - windows.height) // 2),
        left=mx.where(some, windows.left, (width - windows.width) // 2),
    )


def resized_windows(
    images: Array, windows: Rectangles, rows: int, columns: int
) -> Array:
    """Crop the windows and resize each to `(rows, columns)`.

    The interpolation is separable: a product with one matrix per axis. It equals
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
    """Interpolation weights from `size` input to `out` output pixels, `(N, out, size)`.

    The window covers `length` pixels from `start`, both `(N, 1)`. Each output pixel has
    a triangle filter around its center, two output pixels wide, but at least two input
    pixels.
    """
    step = length.astype(mx.float32) / out  # (N, 1): input pixels per output pixel
    centers = (mx.arange(out) + 0.5) * step  # (N, out), relative to the window
    pixels = mx.arange(size) - start  # (N, size)
    inside = mx.logical_and(pixels >= 0, pixels < length)
    distances = mx.abs(pixels[:, None] + 0.5 - centers[..., None])  # (N, out, size)
    weights = mx.maximum(1 - distances / mx.maximum(step, 1.0)[..., None], 0)
    weights = mx.where(inside[:, None], weights, 0.0)
    return weights / mx.sum(weights, axis=-1, keepdims=True)
