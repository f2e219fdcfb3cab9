"""Mirrored images."""

import mlx.core as mx

from lucid_fn import random
from lucid_fn.data.augmentation.checks import checked_shape
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key


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
    n = checked_shape("random_flip", key, images)[0]
    flips = random.bernoulli(key, 0.5, (n, 1, 1, 1))
    return started(mx.where(flips, images[:, :, ::-1], images))
