"""Random changes of brightness, contrast, saturation and hue."""

import mlx.core as mx

from lucid_fn import random
from lucid_fn.checks import check_number
from lucid_fn.data.augmentation.checks import check_images, in_float32, to_dtype
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key


def color_jitter(
    key: Key,
    images: Array,
    *,
    brightness: float = 0.0,
    contrast: float = 0.0,
    saturation: float = 0.0,
    hue: float = 0.0,
) -> Array:
    """Randomly change brightness, contrast, saturation and hue, in this order.

    Brightness is `factor * image`, contrast `factor * image + (1 - factor) * mean` with
    the mean of the grayscale image, and saturation the same with the grayscale image
    itself. Each factor is uniform in `[max(0, 1 - b), 1 + b]`, where `b` is the
    argument. Hue is rotated by a fraction of the color circle that is uniform in
    `[-hue, hue]`. Pixels are clipped after each change.

    Args:
        key: a key.
        images: floats from 0 to 1, or uint8 from 0 to 255, before `data.normalize`;
            shape `(N, H, W, 3)`, or `(N, H, W, 1)`, where only brightness and contrast
            have an effect.
        brightness: half-width of the range of factors, at least 0.
        contrast: as `brightness`.
        saturation: as `brightness`.
        hue: the largest rotation, in [0, 0.5].

    Returns:
        Array of the shape and dtype of `images`.

    Raises:
        TypeError: if an argument is of the wrong type, or `images` of another dtype.
        ValueError: if `images` has another shape, or a number is out of range.

    Source: Howard, 2013, https://arxiv.org/abs/1312.5402, section 2. The formulas are
    those of torchvision's `ColorJitter`, which also draws their order at random.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import data, random
        >>> images = mx.full((2, 8, 8, 3), 0.5)
        >>> data.color_jitter(random.key(0), images, brightness=0.4, hue=0.1).shape
        (2, 8, 8, 3)
    """
    caller = "color_jitter"
    n, *_, channels = check_images(caller, key, images)
    is_float = mx.issubdtype(images.dtype, mx.floating)
    if not is_float and images.dtype != mx.uint8:
        raise TypeError(
            f"{caller}: images must be floats from 0 to 1, or uint8, got {images.dtype}"
        )
    if channels not in (1, 3):
        raise ValueError(
            f"{caller}: images must have 1 or 3 channels on the last axis, got "
            f"{images.shape}"
        )
    widths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    for name, width in widths.items():
        widths[name] = check_number(caller, name, width, at_least=0)
    hue = check_number(caller, "hue", hue, at_least=0, at_most=0.5)
    largest = 1 if is_float else 255
    pixels = in_float32(images) / largest
    for name, adjust in (
        ("brightness", adjust_brightness),
        ("contrast", adjust_contrast),
        ("saturation", adjust_saturation),
    ):
        if width := widths[name]:
            low, high = max(0.0, 1 - width), 1 + width
            subkey = random.fold_in(key, name)
            factor = random.uniform(subkey, (n, 1, 1, 1), low=low, high=high)
            pixels = adjust(pixels, factor)
    if hue:
        subkey = random.fold_in(key, "hue")
        shift = random.uniform(subkey, (n, 1, 1, 1), low=-hue, high=hue)
        pixels = adjust_hue(pixels, shift)
    return started(to_dtype(pixels * largest, images.dtype))


def adjust_brightness(pixels: Array, factor: Array) -> Array:
    """Blend pixels in [0, 1] with black."""
    return mx.clip(factor * pixels, 0, 1)


def adjust_contrast(pixels: Array, factor: Array) -> Array:
    """Blend pixels in [0, 1] with the mean of the grayscale image."""
    return _blend(pixels, mx.mean(_gray(pixels), axis=(1, 2), keepdims=True), factor)


def adjust_saturation(pixels: Array, factor: Array) -> Array:
    """Blend pixels in [0, 1] with the grayscale image."""
    return _blend(pixels, _gray(pixels), factor)


def adjust_hue(pixels: Array, shift: Array) -> Array:
    """Rotate the hue of pixels in [0, 1] by a fraction of the color circle.

    With the value `v` (the largest channel) and the chroma `c` (the largest minus the
    smallest channel), a channel is `v - c * clip(min(k, 4 - k), 0, 1)`, where
    `k = (offset + 6 hue) mod 6`, with offset 5 for red, 3 for green and 1 for blue.
    """
    if pixels.shape[-1] == 1:
        return pixels
    red, green, blue = (pixels[..., i : i + 1] for i in range(3))
    value = mx.max(pixels, axis=-1, keepdims=True)
    chroma = value - mx.min(pixels, axis=-1, keepdims=True)
    divisor = mx.where(chroma == 0, 1.0, chroma)
    sixths = mx.where(
        value == red,
        (green - blue) / divisor,
        mx.where(
            value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor
        ),
    )
    offsets = mx.array([5.0, 3.0, 1.0], pixels.dtype)
    k = mx.remainder(offsets + sixths + 6 * shift, 6)  # (N, H, W, 3)
    return value - chroma * mx.clip(mx.minimum(k, 4 - k), 0, 1)


def _gray(pixels: Array) -> Array:
    """Grayscale as ITU-R BT.601 luma, `(N, H, W, 1)`."""
    if pixels.shape[-1] == 1:
        return pixels
    weights = mx.array([0.2989, 0.587, 0.114], pixels.dtype)
    return mx.sum(pixels * weights, axis=-1, keepdims=True)


def _blend(pixels: Array, other: Array, factor: Array) -> Array:
    return mx.clip(factor * pixels + (1 - factor) * other, 0, 1)
