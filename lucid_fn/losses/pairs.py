"""What losses of predictions and targets have in common."""

import mlx.core as mx

from lucid_fn.checks import check_array, check_float, check_same_shape
from lucid_fn.types import Array


def check_pair(caller: str, first: str, x: Array, targets: Array) -> Array:
    """The targets, as floats, once they are known to fit the predictions `x`."""
    check_float(caller, **{first: x})
    check_array(caller, targets=targets)
    check_same_shape(caller, **{first: x, "targets": targets})
    if mx.issubdtype(targets.dtype, mx.complexfloating):
        raise TypeError(f"{caller}: targets must be real, got {targets.dtype}")
    whole = not mx.issubdtype(targets.dtype, mx.floating)
    return targets.astype(x.dtype) if whole else targets


def positive_part(x: Array) -> Array:
    """`max(x, 0)`, whose derivative at 0 is 1, as that of PyTorch's `clamp`."""
    return mx.where(x < 0, 0.0, x)


def by_sign(targets: Array, positive: Array, negative: Array) -> Array:
    """The one where the target is above 0 and the other elsewhere; NaN where it is."""
    chosen = mx.where(targets > 0, positive, negative)
    return mx.where(targets == targets, chosen, mx.nan)  # NaN differs from itself
