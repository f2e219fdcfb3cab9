"""Class labels, which are values: they may lie outside of the classes."""

import mlx.core as mx

from lucid_fn.types import Array


def among(labels: Array, num_classes: int) -> Array:
    """Whether each label is in [0, num_classes): bool, of the shape of `labels`.

    Example:
        >>> import mlx.core as mx
        >>> among(mx.array([0, 7, 255], mx.uint8), 300).tolist()
        [True, True, True]
    """
    # MLX takes a number in the dtype of the array it meets, and refuses 300 as a uint8.
    wide = labels if labels.dtype.size >= 4 else labels.astype(mx.int32)
    return (wide >= 0) & (wide < num_classes)
