"""Checks of arrays and random keys: types, dtypes, shapes and sizes."""

import functools
import math
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any

import mlx.core as mx

from lucid_fn.context import holding
from lucid_fn.types import Array, Key

AXES = {1: "L", 2: "H, W", 3: "D, H, W"}
"""The names of the spatial axes, by how many there are."""


def check_array(caller: str, **arrays: Any) -> None:
    """Raise unless every argument is an MLX array."""
    for name, x in arrays.items():
        if not isinstance(x, mx.array):
            raise TypeError(
                f"{caller}: {name} must be an MLX array, got {type(x).__name__}; "
                f"{_remedy(name, x)}"
            )


def _remedy(name: str, x: Any) -> str:
    """How to get the array that was probably meant."""
    if hasattr(x, "sequence"):  # the output of a recurrent layer
        return f"take {name}.sequence"
    if hasattr(x, "_fields"):  # such as the output of a max pool with indices
        return f"take one of {', '.join(f'{name}.{field}' for field in x._fields)}"
    if isinstance(x, tuple):
        return "apply returns the pair (y, state): give y alone"
    return f"convert it with mx.array({name})"


def shape_error(
    caller: str, name: str, x: Any, wanted: object, *, axes: int | None = None
) -> ValueError:
    """The error for an array that does not have the `wanted` shape.

    Given the number of `axes`, it says whether the batch axis may be missing.
    """
    single = axes is not None and x.ndim == axes - 1
    hint = f"; a single example needs a batch axis: {name}[None]" if single else ""
    return ValueError(f"{caller}: {name} must have shape {wanted}, got {x.shape}{hint}")


def check_axes(caller: str, x: Array, dims: int, *, least: int = 0) -> None:
    """Raise unless `x` has shape `(N, ..., C)`, with `dims` spatial axes.

    Each of these must have a length of at least `least`.
    """
    if x.ndim == dims + 2 and min(x.shape[1:-1]) >= least:
        return
    full = ", of which no spatial axis may be empty" if least and 0 in x.shape else ""
    raise shape_error(caller, "x", x, f"(N, {AXES[dims]}, C){full}", axes=dims + 2)


def check_float(caller: str, **arrays: Any) -> None:
    """Raise unless every argument is an MLX array of a float dtype."""
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
    """Raise unless every argument is an MLX array of an integer dtype."""
    check_array(caller, **arrays)
    for name, x in arrays.items():
        if not mx.issubdtype(x.dtype, mx.integer):
            raise TypeError(f"{caller}: {name} must be integers, got {x.dtype}")


def check_same_shape(caller: str, **arrays: Array) -> None:
    """Raise unless the shapes are equal: broadcasting would hide a mistake."""
    (first, x), *others = arrays.items()
    for name, y in others:
        if y.shape != x.shape:
            raise ValueError(
                f"{caller}: {name} must have the shape of {first}, {x.shape}, got "
                f"{y.shape}"
            )


def check_classes(caller: str, **arrays: Array) -> None:
    """Raise unless every argument has a last axis, with at least one class."""
    for name, x in arrays.items():
        if x.ndim == 0 or x.shape[-1] == 0:
            raise ValueError(
                f"{caller}: {name} must have shape (..., num_classes) with at least "
                f"one class, got {x.shape}"
            )


def check_rows(caller: str, scores: str, x: Array, labels: Array) -> None:
    """Raise unless `labels` holds one integer for each row of `x`."""
    check_array(caller, **{scores: x})
    check_integer(caller, labels=labels)
    check_classes(caller, **{scores: x})
    if labels.shape != x.shape[:-1]:
        raise ValueError(
            f"{caller}: labels must have shape {x.shape[:-1]} (that of {scores}, less "
            f"the classes), got {labels.shape}"
        )


def check_key(caller: str, key: Any, *, name: str = "key") -> Key:
    """Return the key; raise unless it is one: uint32, shape `(2,)`."""
    fix = "make one with random.key(0)"
    if not isinstance(key, mx.array):
        got = repr(key)
    elif key.dtype == mx.uint32 and key.shape == (2,):
        return key
    else:
        got = f"an array of {key.dtype} and shape {key.shape}"
        if key.ndim > 1 and key.shape[-1] == 2:
            fix = "use lf.vmap for a batch of keys"
    raise TypeError(
        f"{caller}: {name} must be a key (uint32, shape (2,)), got {got}; {fix}"
    )


# ---- sizes of arrays that arguments ask for ----
# MLX does not check them: an array that does not fit in memory ends the process, and an
# axis beyond 32 bits wraps around, or raises an error that does not name the argument.

_SMALL = 1 << 26  # elements, which fit in any memory

_shapes_only: ContextVar[bool] = ContextVar("shapes_only", default=False)


def shapes_only() -> AbstractContextManager[Any]:
    """Inside the block no array is computed, so none is too large for memory."""
    return holding(_shapes_only, True)


def check_size(
    caller: str, name: str, shape: Sequence[int], *, itemsize: int = 4
) -> None:
    """Raise unless an array of this shape can be made.

    Args:
        caller: public function that errors name.
        name: argument, or arguments, that determine the shape.
        shape: shape of the array.
        itemsize: bytes per element.

    Raises:
        ValueError: if an axis has 2**31 items or more.
        MemoryError: if the array is larger than the memory of the machine.

    Example:
        >>> check_size("constant_pad", "padding", (1, 2**31, 4))
        Traceback (most recent call last):
        ValueError: constant_pad: padding must give an array with fewer than 2**31 items
            along each axis, got one of shape (1, 2147483648, 4)
    """
    count = math.prod(shape)
    if 0 < count <= _SMALL:
        return
    if max(shape, default=0) >= 2**31:
        raise ValueError(
            f"{caller}: {name} must give an array with fewer than 2**31 items along "
            f"each axis, got one of shape {tuple(shape)}"
        )
    if itemsize * count > _memory() and not _shapes_only.get():
        raise MemoryError(
            f"{caller}: {name} must give an array that fits in memory, "
            f"{_memory() / 1e9:.0f} GB, got one of shape {tuple(shape)}, which takes "
            f"{itemsize * count / 1e9:.0f} GB; lf.eval_shape gives the shapes of a "
            "function's results without computing them"
        )


@functools.cache
def _memory() -> float:
    """The physical memory in bytes; infinite if the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return math.inf
