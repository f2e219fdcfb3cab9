"""Picking what stands at a label."""

import mlx.core as mx

from lucid_fn.class_labels import among
from lucid_fn.types import Array


def at_label(values: Array, labels: Array) -> Array:
    """`values[..., labels]` `(...)` of `(..., num_classes)`; NaN outside the classes.

    MLX itself would count a negative label from the end, and read whatever lies past
    the row for one too large: a loss that looks right and is not.
    """
    inside = among(labels, values.shape[-1])
    index = mx.where(inside, labels, 0)[..., None]
    picked = mx.take_along_axis(values, index, axis=-1).squeeze(-1)
    return mx.where(inside, picked, mx.nan)


def widen(x: Array) -> Array:
    """Half precision as float32: a mean of float16 overflows at 65504."""
    return x.astype(mx.float32) if x.dtype in (mx.float16, mx.bfloat16) else x
