"""Random changes of images that keep their labels: functions of a key and a batch.

Each image of a batch gets its own draw. Shape and dtype are kept, so that pixels may be
bytes, or floats after `normalize`: there 0, with which borders and holes are filled, is
the mean and not black.
"""

import mlx.core as mx

from lucid_fn import random
from lucid_fn.checks import check_count
from lucid_fn.evaluation import started
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
    n, height, width, _ = _checked_shape("random_crop", key, images)
    padding = check_count("random_crop", "padding", padding, at_least=0)
    shift = random.randint(key, (n, 2), high=2 * padding + 1)
    border = (padding, padding)
    padded = mx.pad(images, [(0, 0), border, border, (0, 0)])
    rows = shift[:, :1] + mx.arange(height)  # (N, H)
    columns = shift[:, 1:] + mx.arange(width)  # (N, W)
    # One gather for each axis: of whole rows, then of pixels.
    padded = mx.take_along_axis(padded, rows[:, :, None, None], axis=1)
    return started(mx.take_along_axis(padded, columns[:, None, :, None], axis=2))


def random_flip(key: Key, images: Array) -> Array:
    """Each image as it is or mirrored left to right, with equal probability.

    Args:
        key: a key. The same key flips the same images, so that it undoes itself.
        images: any dtype, shape `(N, H, W, C)`.

    Returns:
        Array of the shape and dtype of `images`.

    Raises:
        TypeError: if `key` is not a key.
        ValueError: if `images` has not four axes.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import data, random
        >>> images = mx.arange(6).reshape(3, 1, 2, 1)
        >>> data.random_flip(random.key(0), images).reshape(3, 2).tolist()
        [[0, 1], [3, 2], [4, 5]]
    """
    n = _checked_shape("random_flip", key, images)[0]
    flips = random.bernoulli(key, 0.5, (n, 1, 1, 1))
    return started(mx.where(flips, images[:, :, ::-1], images))


def cutout(key: Key, images: Array, size: int) -> Array:
    """Each image with a square of zeros around a random pixel.

    The centre is any pixel with equal probability; what of the square is outside of
    the image is cut off. Of an even `size` the larger part is above and left.

    Args:
        key: a key.
        images: any dtype, shape `(N, H, W, C)`.
        size: side of the square in pixels, at least 1.

    Returns:
        Array of the shape and dtype of `images`.

    Raises:
        TypeError: if `key` is not a key, or `size` is not an integer.
        ValueError: if `images` has not four axes, or `size` is below 1.

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
    n, height, width, _ = _checked_shape("cutout", key, images)
    size = check_count("cutout", "size", size, at_least=1)
    key_y, key_x = random.split(key)
    top = random.randint(key_y, (n, 1), high=height) - size // 2
    left = random.randint(key_x, (n, 1), high=width) - size // 2
    in_rows = _between(mx.arange(height), top, size)  # (N, H)
    in_columns = _between(mx.arange(width), left, size)  # (N, W)
    hole = mx.logical_and(  # (N, H, W, 1)
        in_rows[:, :, None, None], in_columns[:, None, :, None]
    )
    return started(mx.where(hole, mx.zeros((), images.dtype), images))


def _between(x: Array, start: Array, size: int) -> Array:
    return mx.logical_and(x >= start, x < start + size)


def _checked_shape(caller: str, key: Key, images: Array) -> tuple[int, ...]:
    """The shape of `images`, if both arguments are what they should be."""
    if not isinstance(key, mx.array) or key.shape != (2,) or key.dtype != mx.uint32:
        got = f"{key.dtype} {key.shape}" if isinstance(key, mx.array) else repr(key)
        raise TypeError(
            f"{caller}: key must be a key (uint32, shape (2,)), got {got}; make one "
            "with random.key(0), and give it before the images"
        )
    if not isinstance(images, mx.array):
        raise TypeError(
            f"{caller}: images must be an MLX array, got {type(images).__name__}; "
            "convert it with mx.array"
        )
    if images.ndim != 4 or images.size == 0:
        raise ValueError(
            f"{caller}: images must have shape (N, H, W, C), none of them 0, got "
            f"{images.shape}; for one image write images[None]"
        )
    return images.shape
