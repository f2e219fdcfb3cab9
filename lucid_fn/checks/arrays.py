"""Checks of arrays: types, dtypes and shapes."""

from typing import Any

import mlx.core as mx

from lucid_fn.types import Array


def check_array(caller: str, **arrays: Any) -> None:
    """Raises unless every argument is an MLX array."""
    for name, x in arrays.items():
        if not isinstance(x, mx.array):
            raise TypeError(
                f"{caller}: {name} must be an MLX array, got {type(x).__name__}; "
                f"{_remedy(name, x)}"
            )


def _remedy(name: str, x: Any) -> str:
    """How to get the array that was meant."""
    if hasattr(x, "sequence"):  # what a recurrent layer returns
        return f"take {name}.sequence"
    if hasattr(x, "_fields"):  # such as the values and the indices of a max pool
        return f"take one of {', '.join(f'{name}.{field}' for field in x._fields)}"
    if isinstance(x, tuple):
        return "apply returns the pair (y, state): give y alone"
    return f"convert it with mx.array({name})"


def batch_hint(x: Array, ndim: int, name: str = "x") -> str:
    """The end of an error about a shape of `ndim` axes: the batch axis is missing."""
    if x.ndim != ndim - 1:
        return ""
    return f"; a single example needs a batch axis: {name}[None]"


def check_float(caller: str, **arrays: Any) -> None:
    """Raises unless every argument is an MLX array of a float dtype."""
    check_array(caller, **arrays)
    for name, x in arrays.items():
        if not mx.issubdtype(x.dtype, mx.floating):
            raise TypeError(
                f"{caller}: {name} must be of a float dtype, got {x.dtype}; "
                f"convert it with {name}.astype(mx.float32)"
            )


_NARROW = (mx.float32, mx.float16, mx.bfloat16)


def check_narrow_float(caller: str, **arrays: Any) -> None:
    """`check_float` for functions that do not compute in float64."""
    check_array(caller, **arrays)
    for name, x in arrays.items():
        if x.dtype not in _NARROW:
            raise TypeError(
                f"{caller}: {name} must be float32, float16 or bfloat16, got "
                f"{x.dtype}; convert it with {name}.astype(mx.float32)"
            )


def check_integer(caller: str, **arrays: Any) -> None:
    """Raises unless every argument is an MLX array of an integer dtype."""
    check_array(caller, **arrays)
    for name, x in arrays.items():
        if not mx.issubdtype(x.dtype, mx.integer):
            raise TypeError(f"{caller}: {name} must be integers, got {x.dtype}")


def check_same_shape(caller: str, **arrays: Array) -> None:
    """Raises unless the shapes are equal: broadcasting here is nearly always a slip."""
    (first, x), *others = arrays.items()
    for name, y in others:
        if y.shape != x.shape:
            raise ValueError(
                f"{caller}: {name} must have the shape of {first}, {x.shape}, got "
                f"{y.shape}"
            )


def check_classes(caller: str, **arrays: Array) -> None:
    """Raises unless every argument has a last axis, with at least one class."""
    for name, x in arrays.items():
        if x.ndim == 0 or x.shape[-1] == 0:
            raise ValueError(
                f"{caller}: {name} must have shape (..., num_classes) with at least "
                f"one class, got {x.shape}"
            )


def check_rows(caller: str, scores: str, x: Array, labels: Array) -> None:
    """Raises unless `labels` holds one integer for each row of `x`."""
    check_array(caller, **{scores: x})
    check_integer(caller, labels=labels)
    check_classes(caller, **{scores: x})
    if labels.shape != x.shape[:-1]:
        raise ValueError(
            f"{caller}: labels must have shape {x.shape[:-1]} (that of {scores}, less "
            f"the classes), got {labels.shape}"
        )
