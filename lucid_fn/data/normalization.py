"""Normalize pixels to mean 0 and standard deviation 1."""

from collections.abc import Sequence
from typing import Any, TypeVar

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lucid_fn.numpy_arrays import check_numpy, to_contiguous
from lucid_fn.tracing import started

Images = TypeVar("Images", NDArray[Any], mx.array)

MNIST_MEAN = 0.1307
"""The mean of MNIST's training pixels, scaled to [0, 1]."""

MNIST_STD = 0.3081
"""The standard deviation of MNIST's training pixels, scaled to [0, 1]."""

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
"""The mean of CIFAR-10's training pixels, scaled to [0, 1]: red, green, blue."""

CIFAR10_STD = (0.2023, 0.1994, 0.2010)
"""The mean over CIFAR-10's images of the standard deviation within an image."""


def normalize(
    images: Images, mean: float | Sequence[float], std: float | Sequence[float]
) -> Images:
    """Compute `(images / 255 - mean) / std` in float32.

    The result equals that of torchvision's `ToTensor` followed by `Normalize`: each of
    the three operations rounds to float32.

    Args:
        images: pixels from 0 to 255, uint8, `(..., C)`: a NumPy array, before batching,
            or an MLX array, also inside a compiled function. uint8 batches are a
            quarter of the size, and can be augmented first.
        mean: mean of the pixels scaled to [0, 1]; a number, or one per channel.
        std: their standard deviation, positive; likewise.

    Returns:
        Float32 array of the same shape, of NumPy or MLX as `images` is.

    Raises:
        TypeError: if `images` is not a uint8 array, or `mean` or `std` not numbers.
        ValueError: if `mean` or `std` has neither one value nor `C`, or is not finite,
            or if `std` is not positive.

    Example:
        >>> import numpy as np
        >>> from lucid_fn import data
        >>> pixels = np.array([[[[0, 128, 255]]]], np.uint8)
        >>> data.normalize(pixels, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.25))
        array([[[[-1. , 0.00392163, 2. ]]]], dtype=float32)
    """
    if not isinstance(images, mx.array):
        check_numpy("normalize", "images", images)
    if images.dtype not in (np.uint8, mx.uint8):
        raise TypeError(
            f"normalize: images must be uint8, 0 to 255, got {images.dtype}; "
            "for images in [0, 1] write (images - mean) / std"
        )
    center = _per_channel("mean", mean, images.shape)
    scale = _per_channel("std", std, images.shape)
    if not (scale > 0).all():
        raise ValueError(f"normalize: std must be positive, got {std}")
    if isinstance(images, mx.array):
        scaled = images.astype(mx.float32) / 255
        moved = scaled - mx.array(to_contiguous(center))
        return started(moved / mx.array(to_contiguous(scale)))
    out = np.asarray(images).astype(np.float32)  # also of a memory map
    out /= np.float32(255)  # in place: a data set is large
    out -= center
    out /= scale
    return out


def _per_channel(
    name: str, value: float | Sequence[float], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    try:
        given = np.asarray(value)
    except ValueError:  # a list of unequal lengths
        given = np.asarray(None)
    if given.dtype.kind not in "iuf":
        raise TypeError(
            f"normalize: {name} must be a number or one for each channel, got {value!r}"
        )
    values = given.astype(np.float32)
    if values.shape != () and (not shape or values.shape != shape[-1:]):
        channels = shape[-1] if shape else 0
        raise ValueError(
            f"normalize: {name} must be a number or have one value for each of the "
            f"{channels} channels (last axis) of images, got {value}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"normalize: {name} must be finite, got {value}")
    return values
