"""Arrays of other libraries to MLX and back, dtypes kept."""

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lucid_fn.io import Opaque
from lucid_fn.numpy_arrays import check_numpy, from_numpy
from lucid_fn.types import Array


def to_storable(caller: str, name: str, value: Any) -> Array | NDArray[Any]:
    """The MLX or NumPy array with the values and the dtype of an array or a tensor."""
    if isinstance(value, mx.array):
        return value
    if callable(getattr(value, "detach", None)):
        return _from_tensor(caller, name, value)
    if not isinstance(value, np.ndarray | np.generic):
        raise TypeError(
            f"{caller}: {name} must be a NumPy array, an MLX array or a tensor, got "
            f"{described(value)}; {_remedy(name, value)}"
        )
    check_numpy(caller, name, value)
    return value if isinstance(value, np.ndarray) else np.asarray(value)


def _from_tensor(caller: str, name: str, value: Any) -> Array | NDArray[Any]:
    try:
        tensor = value.detach().cpu().resolve_conj().resolve_neg()
        if str(tensor.dtype) == "torch.bfloat16":  # NumPy has none; this is exact
            return mx.array(tensor.float().numpy()).astype(mx.bfloat16)
        array: NDArray[Any] = tensor.numpy()
        return array
    except (RuntimeError, TypeError) as error:  # sparse, quantized, meta, float8 ...
        raise TypeError(
            f"{caller}: {name} must be a dense tensor of a dtype that NumPy has, got "
            f"{value.dtype} {value.layout} on {value.device}: {error}"
        ) from error


def described(value: Any) -> str:
    """The type of something that should be an array, and what is known of it."""
    return repr(value) if isinstance(value, Opaque) else type(value).__name__


def _remedy(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"is the state_dict inside, under {name!r}?"
    return f"leave it out with rename={{{name!r}: None}}, or make it an array"


def to_mlx(caller: str, name: str, value: Any) -> Array:
    """The MLX array with the values of a NumPy array, an MLX array or a tensor.

    float64, which GPUs have not, becomes float32.
    """
    array = to_storable(caller, name, value)
    if not isinstance(array, mx.array):
        return from_numpy(caller, name, array)
    if array.dtype == mx.float64:
        return array.astype(mx.float32, stream=mx.cpu)  # GPUs have no float64
    return array


def to_numpy(array: Array) -> NDArray[Any]:
    """A copy in NumPy. bfloat16, which NumPy has not, becomes float32: exact."""
    if array.dtype == mx.bfloat16:
        array = array.astype(mx.float32)
    return np.array(array)
