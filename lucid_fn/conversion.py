"""NumPy arrays and scalars as MLX arrays, whatever their layout in memory."""

from typing import Any, cast

import mlx.core as mx
import numpy as np

from lucid_fn.types import Array


def from_numpy(value: Any) -> Array | None:
    """A NumPy array or scalar as an MLX array; `None` for one that has no such array.

    MLX itself refuses negative and odd strides, foreign byte orders and long doubles.
    A masked array has none, since MLX would drop the mask without a word.

    Example:
        >>> import numpy as np
        >>> from_numpy(np.arange(3, dtype=">i4")[::-1])
        array([2, 1, 0], dtype=int32)
    """
    if isinstance(value, np.ma.MaskedArray):
        return None
    dtype = value.dtype
    if dtype.kind not in "biufc" and dtype.name != "bfloat16":
        return None
    if dtype.itemsize > 8 and dtype.kind == "f":
        value = value.astype(np.float64)
    elif dtype.itemsize > 16:
        value = value.astype(np.complex128)
    elif not dtype.isnative:
        value = value.astype(dtype.newbyteorder("="))
    if isinstance(value, np.ndarray) and any(
        stride < 0 or stride % value.itemsize for stride in value.strides
    ):
        value = value.copy()
    return mx.array(cast(Any, value))  # NumPy is not in the signature of MLX's stubs
