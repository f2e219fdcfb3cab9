"""Conversion of other libraries' arrays to MLX and back, keeping dtypes."""

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lucid_fn.io import Opaque
from lucid_fn.numpy_arrays import check_numpy, from_numpy
from lucid_fn.types import Array


def to_storable(caller: str, name: str, value: Any) -> Array | NDArray[Any]:
    """Convert an array or tensor to an MLX or NumPy array of the same dtype."""
    if isinstance(value, mx.array):
        return value
    if callable(getattr(value, "detach", None)):
        return _from_tensor(caller, name, value)
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(
            f"{caller}: {name} must be a NumPy array, an MLX array or a tensor, got "
            f"{describe(value)}; {_remedy(name, value)}"
        )
    check_numpy(caller, name, value)
    return value if isinstance(value, np.ndarray) else np.asarray(value)


def _from_tensor(caller: str, name: str, value: Any) -> Array | NDArray[Any]:
    try:
        tensor = value.detach().cpu().resolve_conj().resolve_neg()
        if str(tensor.dtype) == "torch.bfloat16":  # NumPy lacks it; this is exact
            return mx.array(tensor.float().numpy()).astype(mx.bfloat16)
        array: NDArray[Any] = tensor.numpy()
        return array
    except (RuntimeError, TypeError) as error:  # sparse, quantized, meta, float8 ...
        raise TypeError(
            f"{caller}: {name} must be a dense tensor of a dtype that NumPy has, got "
            f"{value.dtype} {value.layout} on {value.device}: {error}"
        ) from error


def describe(value: Any) -> str:
    """Describe a value that should have been an array, for error messages."""
    return repr(value) if isinstance(value, Opaque) else type(value).__name__


def _remedy(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"is the state_dict inside, under {name!r}?"
    return f"leave it out with rename={{{name!r}: None}}, or make it an array"


def to_mlx(caller: str, name: str, value: Any) -> Array:
    """Convert a NumPy array, an MLX array or a tensor to an MLX array.

    float64 becomes float32, since GPUs do not support it.
    """
    array = to_storable(caller, name, value)
    if not isinstance(array, mx.array):
        return from_numpy(caller, name, array)
    if array.dtype == mx.float64:
        return array.astype(mx.float32, stream=mx.cpu)  # GPUs do not support float64
    return array


def to_numpy(array: Array) -> NDArray[Any]:
    """Copy to NumPy. bfloat16, which NumPy lacks, becomes float32 exactly."""
    if array.dtype == mx.bfloat16:
        array = array.astype(mx.float32)
    return np.array(array)
