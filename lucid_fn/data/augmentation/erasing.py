"""Cutout and random erasing."""

import mlx.core as mx

from lucid_fn import random
from lucid_fn.checks import check_count, check_number
from lucid_fn.data.augmentation.checks import check_images, check_range
from lucid_fn.data.augmentation.rectangles import (
    Rectangles,
    draw_shapes,
    first_that_fits,
    place,
)
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key


def cutout(key: Key, images: Array, size: int) -> Array:
    """Zero out a square around a random pixel of each image.

    All pixels are equally likely to be the center; the square is clipped at the image's
    edges. With an even `size` it extends one pixel farther up and left.

    Args:
        key: a key.
        images: any dtype, shape `(N, H, W, C)`.
        size: side of the square in pixels, at least 1.

    Returns:
        Array of the shape and dtype of `images`.

    Raises:
        TypeError: if `key` is not a key, or `size` is not an integer.
        ValueError: if `images` does not have four axes, or `size` is below 1.

    Source: DeVries & Taylor, 2017, https://arxiv.org/abs/1708.04552, section 3.2; there
    a square of odd size is one pixel smaller.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import data, random
        >>> data.cutout(random.key(4), mx.ones((1, 3, 5, 1)), 2).reshape(3, 5)
        array([[1, 1, 1, 1, 1],
               [1, 0, 0, 1, 1],
               [1, 0, 0, 1, 1]], dtype=float32)
    """
    n, height, width, _ = check_images("cutout", key, images)
    size = check_count("cutout", "size", size, at_least=1)
    key_y, key_x = random.split(key)
    top = random.randint(key_y, (n, 1), high=height) - size // 2
    left = random.randint(key_x, (n, 1), high=width) - size // 2
    side = mx.array(size)
    hole = Rectangles(top, left, side, side).masks(height, width)
    return started(mx.where(hole, mx.zeros((), images.dtype), images))


def random_erasing(
    key: Key,
    images: Array,
    *,
    probability: float = 0.5,
    scale: tuple[float, float] = (0.02, 0.33),
    ratio: tuple[float, float] = (0.3, 3.3),
    value: float = 0.0,
) -> Array:
    """Fill a random rectangle of each image with a value, with some probability.

    The rectangle's area is a fraction of the image's, uniform in `scale`; its aspect
    ratio height / width is log-uniform in `ratio`. All positions inside the image are
    equally likely. Of ten candidates the first that fits is used; if none does, which
    is rare, the image is unchanged.

    Args:
        key: a key.
        images: any dtype, shape `(N, H, W, C)`.
        probability: probability of erasing, in [0, 1].
        scale: smallest and largest area fraction, in (0, 1].
        ratio: smallest and largest height / width, positive.
        value: the fill value.

    Returns:
        Array of the shape and dtype of `images`.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if `images` does not have four axes, or an argument is out of range.

    Source: Zhong et al., 2017, https://arxiv.org/abs/1708.04896, algorithm 1, with the
    distributions of torchvision's `RandomErasing`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import data, random
        >>> images = mx.ones((8, 32, 32, 3))
        >>> erased = data.random_erasing(random.key(0), images, probability=1.0)
        >>> 0.02 < mx.mean(erased == 0).item() < 0.33
        True
    """
    caller = "random_erasing"
    n, height, width, _ = check_images(caller, key, images)
    probability = check_number(
        caller, "probability", probability, at_least=0, at_most=1
    )
    scale = check_range(caller, "scale", scale, at_most=1)
    ratio = check_range(caller, "ratio", ratio)
    value = check_number(caller, "value", value)
    shape_key, place_key, chosen_key = random.split(key, 3)
    heights, widths = draw_shapes(shape_key, n, height * width, scale, ratio)
    fits = mx.logical_and(heights < height, widths < width)
    sides = first_that_fits(heights, widths, fits, otherwise=(0, 0))
    holes = place(place_key, *sides, (height, width)).masks(height, width)
    chosen = random.bernoulli(chosen_key, probability, (n, 1, 1, 1))
    filled = mx.array(value).astype(images.dtype)
    return started(mx.where(mx.logical_and(holes, chosen), filled, images))
