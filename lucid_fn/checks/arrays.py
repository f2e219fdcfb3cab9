"""Checks of arrays: types, dtypes, shapes and sizes, and of random keys."""

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
"""Names of the spatial axes, by their number."""


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


def _batch_hint(x: Array, ndim: int, name: str) -> str:
    """The end of an error about a shape of `ndim` axes: the batch axis is missing."""
    if x.ndim != ndim - 1:
        return ""
    return f"; a single example needs a batch axis: {name}[None]"


def shape_error(
    caller: str, name: str, x: Any, wanted: object, *, axes: int | None = None
) -> ValueError:
    """The error of an array that does not have the `wanted` shape, of `axes` axes."""
    hint = "" if axes is None else _batch_hint(x, axes, name)
    return ValueError(f"{caller}: {name} must have shape {wanted}, got {x.shape}{hint}")


def check_axes(caller: str, x: Array, dims: int, *, least: int = 0) -> None:
    """Raises unless `x` has shape `(N, ..., C)`, with `dims` axes between.

    These spatial axes have a length of at least `least`.
    """
    if x.ndim == dims + 2 and min(x.shape[1:-1]) >= least:
        return
    full = ", of which no spatial axis may be empty" if least and 0 in x.shape else ""
    raise shape_error(caller, "x", x, f"(N, {AXES[dims]}, C){full}", axes=dims + 2)


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


def check_key(caller: str, key: Any, *, name: str = "key") -> Key:
    """The key, if it is one: uint32, shape `(2,)`."""
    if isinstance(key, mx.array) and key.dtype == mx.uint32 and key.shape == (2,):
        return key
    got = (
        f"an array of {key.dtype} and shape {key.shape}"
        if isinstance(key, mx.array)
        else repr(key)
    )
    batch = isinstance(key, mx.array) and key.ndim > 1 and key.shape[-1] == 2
    raise TypeError(
        f"{caller}: {name} must be a key (uint32, shape (2,)), got {got}; "
        + (
            "use lf.vmap for a batch of keys"
            if batch
            else "make one with random.key(0)"
        )
    )


# ---- sizes that arguments ask for ----
# MLX does not check them: an array that does not fit in memory ends the process, and an
# axis beyond 32 bits wraps around or is an error that names no argument.

_SMALL = 1 << 26  # numbers, which fit in any memory

# Set inside the block of `shapes_only` only.
_shapes_only: ContextVar[bool] = ContextVar("shapes_only", default=False)


def shapes_only() -> AbstractContextManager[Any]:
    """Inside the block arrays are never computed, and none is too large for memory."""
    return holding(_shapes_only, True)


def check_size(
    caller: str, name: str, shape: Sequence[int], *, itemsize: int = 4
) -> None:
    """Raises unless an array of this shape can be made.

    Args:
        caller: public function that errors name.
        name: argument, or arguments, that ask for the array.
        shape: of the array.
        itemsize: bytes of a number.

    Raises:
        ValueError: if an axis has 2**31 items or more.
        MemoryError: if the array has more bytes than the machine has memory.

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
    """The bytes of physical memory, as far as the system tells."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # unknown to the system
        return math.inf
