"""The sizes of arrays that arguments ask for.

MLX does not check them: an array that does not fit in memory ends the process, and an
axis beyond 32 bits wraps around or is an error that names no argument.
"""

import functools
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

_SMALL = 1 << 26  # numbers, which fit in any memory

# Set inside the block of `shapes_only` only.
_shapes_only: ContextVar[bool] = ContextVar("shapes_only", default=False)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Inside the block arrays are never computed, and none is too large for memory."""
    token = _shapes_only.set(True)
    try:
        yield
    finally:
        _shapes_only.reset(token)


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
