"""Random horizontal flips."""

import mlx.core as mx

from lucid_fn import random
from lucid_fn.data.augmentation.checks import check_images
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key


def random_flip(key: Key, images: Array) -> Array:
    """Flip each image left to right with probability 1/2.

    Args:
        key: a key. The same key flips the same images: a second call undoes the first.
        images: any dtype, shape `(N, H, W, C)`.

    Returns:
        Array of the shape and dtype of `images`.

    Raises:
        TypeError: if `key` is not a key.
        ValueError: if `images` does not have four axes.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import data, random
        >>> images = mx.arange(6).reshape(3, 1, 2, 1)
        >>> data.random_flip(random.key(0), images).reshape(3, 2).tolist()
        [[0, 1], [3, 2], [4, 5]]
    """
    n = check_images("random_flip", key, images)[0]
    flips = random.bernoulli(key, 0.5, (n, 1, 1, 1))
    return started(mx.where(flips, images[:, :, ::-1], images))
