"""Conversion of NumPy arrays to MLX arrays."""

from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lucid_fn.types import Array

_DTYPES = frozenset(map(np.dtype, "?bBhHiIlLqQefdgFDG"))
_NARROWED = {"g": np.float64, "G": np.complex128}  # long doubles, unknown to MLX
_MAX_LENGTH = 2**31 - 1  # of an axis


def is_bfloat16(array: NDArray[Any] | np.generic) -> bool:
    """Whether the dtype is the bfloat16 of the `ml_dtypes` package, which JAX uses."""
    return array.dtype.name == "bfloat16" and array.dtype.itemsize == 2


def check_numpy(caller: str, name: str, array: Any) -> None:
    """Raise unless `array` is a NumPy array or scalar that MLX can hold.

    Any memory layout is accepted: strided, reversed, read-only, in Fortran order or in
    the other byte order.

    Raises:
        TypeError: if it is not an array, is masked, or has an unsupported dtype.
        ValueError: if an axis is longer than MLX supports.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"{caller}: {name} must be an array without a mask, got a masked array; "
            "fill it with .filled(value)"
        )
    if not isinstance(array, np.ndarray | np.generic):
        raise TypeError(
            f"{caller}: {name} must be a NumPy or MLX array, got "
            f"{type(array).__name__}; convert it with np.asarray"
        )
    if array.dtype.newbyteorder("=") not in _DTYPES and not is_bfloat16(array):
        raise TypeError(
            f"{caller}: {name} must have a dtype that MLX can hold, got {array.dtype}; "
            "convert it with astype"
        )
    if any(length > _MAX_LENGTH for length in array.shape):
        raise ValueError(
            f"{caller}: {name} must have axes of at most {_MAX_LENGTH} entries, got "
            f"shape {array.shape}; take it in parts"
        )


def to_contiguous(array: NDArray[Any]) -> NDArray[Any]:
    """The array in C order and native byte order, copied only if necessary."""
    native = array.dtype.newbyteorder("=")
    ordered = np.asarray(array).astype(native, order="C", copy=False)
    # An axis of length 1 may still have a negative stride, which MLX refuses.
    return np.ndarray(ordered.shape, ordered.dtype, ordered)


def from_numpy(caller: str, name: str, array: Any) -> Array:
    """Copy a NumPy array to an MLX array.

    float64 and long doubles become float32, and their complex numbers complex64.

    Args:
        caller: the name that errors begin with.
        name: the name of the argument.
        array: a NumPy array or scalar.

    Raises:
        TypeError: as `check_numpy`.
        ValueError: as `check_numpy`.

    Example:
        >>> import numpy as np
        >>> from lucid_fn.numpy_arrays import from_numpy
        >>> from_numpy("example", "x", np.arange(3, dtype=">i2")[::-1])
        array([2, 1, 0], dtype=int16)
    """
    check_numpy(caller, name, array)
    ordered = to_contiguous(array)
    if is_bfloat16(ordered):
        return mx.array(ordered.view(np.uint16)).view(mx.bfloat16)
    narrowed = _NARROWED.get(ordered.dtype.char)
    return mx.array(ordered if narrowed is None else ordered.astype(narrowed))


def to_array(value: Any) -> Array | None:
    """`from_numpy` that returns `None` instead of raising an error.

    Example:
        >>> import numpy as np
        >>> from lucid_fn.numpy_arrays import to_array
        >>> to_array(np.array(["text"])) is None
        True
    """
    try:
        return from_numpy("to_array", "value", value)
    except (TypeError, ValueError):
        return None
