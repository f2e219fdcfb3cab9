"""Arrays of other libraries to MLX and back, dtypes kept."""

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lucid_fn.types import Array


def to_mlx(caller: str, name: str, value: Any) -> Array:
    """The MLX array with the values of a NumPy array, an MLX array or a tensor.

    float64, which GPUs have not, becomes float32.
    """
    if isinstance(value, mx.array):
        return value
    if callable(getattr(value, "detach", None)):  # a tensor of PyTorch
        tensor = value.detach().cpu()
        if str(tensor.dtype) == "torch.bfloat16":  # NumPy has none; this is exact
            return mx.array(tensor.float().numpy()).astype(mx.bfloat16)
        value = tensor.numpy()
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(
            f"{caller}: {name} must be a NumPy array, an MLX array or a tensor, got "
            f"{type(value).__name__}"
            + (
                f"; is the state_dict inside, under {name!r}?"
                if isinstance(value, dict)
                else ""
            )
        )
    array = np.asarray(value)
    if array.dtype.name == "bfloat16":  # of the package ml_dtypes
        return mx.array(array.view(np.uint16)).view(mx.bfloat16)
    if array.dtype.kind not in "fiub" or array.dtype.itemsize > 8:
        raise TypeError(
            f"{caller}: {name} must be of numbers or bools, got {array.dtype}"
        )
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    # In the machine's byte order, which is what MLX reads.
    return mx.array(array.astype(array.dtype.newbyteorder("="), order="C"))


def to_numpy(array: Array) -> NDArray[Any]:
    """A copy in NumPy. bfloat16, which NumPy has not, becomes float32: exact."""
    if array.dtype == mx.bfloat16:
        array = array.astype(mx.float32)
    return np.array(array)
