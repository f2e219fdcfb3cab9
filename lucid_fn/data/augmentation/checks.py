"""Checks and dtype conversions shared by the augmentations."""

import mlx.core as mx

from lucid_fn.checks import check_number
from lucid_fn.types import Array, Key


def check_images(caller: str, key: Key, images: Array) -> tuple[int, ...]:
    """Check the key and the images, and return the shape `(N, H, W, C)`."""
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
            f"{caller}: images must have shape (N, H, W, C) and not be empty, got "
            f"{images.shape}; for one image write images[None]"
        )
    return images.shape


def check_range(
    caller: str, name: str, bounds: tuple[float, float], *, at_most: float | None = None
) -> tuple[float, float]:
    """Check a pair of positive numbers with `low <= high`."""
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise ValueError(f"{caller}: {name} must be (low, high), got {bounds!r}")
    low, high = (
        check_number(caller, name, x, above=0, at_most=at_most) for x in bounds
    )
    if low > high:
        raise ValueError(
            f"{caller}: {name} must be (low, high), with low <= high, got {bounds}"
        )
    return low, high


def in_float32(images: Array) -> Array:
    """Pixels in float32, since half precision and integers are too coarse."""
    return images if images.dtype == mx.float64 else images.astype(mx.float32)


def to_dtype(pixels: Array, dtype: mx.Dtype) -> Array:
    """Convert computed pixels to `dtype`, rounding if it is an integer type."""
    if mx.issubdtype(dtype, mx.integer):
        pixels = mx.round(pixels)
    return pixels.astype(dtype)
