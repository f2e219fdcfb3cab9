"""Pickles of NumPy arrays, read without running anything they ask for.

A pickle is a program: its globals name functions that the reader calls. Here the few
that an array is made of are replaced by records of their arguments, all others are
refused, and the arrays are built afterwards from the records.
"""

import io
import math
import pickle
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray


class PickledArray:
    """Stands for a `numpy.ndarray` in what `loads` returns."""

    _state: Any = None  # on the class, as a pickle may skip `__init__`

    def __init__(self, *_: Any) -> None:
        """What is given here is made up for by the state."""

    def __setstate__(self, state: Any) -> None:
        self._state = state

    def to_bytes_array(self) -> NDArray[np.uint8]:
        """The array, which must hold unsigned bytes.

        Raises:
            ValueError: if it holds others, or not as many as its shape says.
        """
        match self._state:
            case (
                _,
                tuple(shape),
                _PickledDtype(code="u1" | b"u1"),
                bool(is_fortran),
                bytes(content),
            ):
                sizes = [n for n in shape if type(n) is int and n >= 0]
                if len(sizes) == len(shape) and math.prod(sizes) == len(content):
                    flat = np.frombuffer(content, np.uint8)
                    return flat.reshape(sizes, order="F" if is_fortran else "C")
        raise ValueError("an array of other things than unsigned bytes")


class _PickledDtype:
    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code

    def __setstate__(self, state: Any) -> None:
        """Byte order and alignment, of which a byte has none."""


def _encode(text: Any, encoding: Any) -> bytes:
    """How Python 3 writes bytes for Python 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise pickle.UnpicklingError("bytes in an unknown encoding")
    return text.encode("latin1")


_GLOBALS: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy.core.multiarray", "_reconstruct"): PickledArray,
    ("numpy._core.multiarray", "_reconstruct"): PickledArray,
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): _PickledDtype,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle._Unpickler):
    # The implementation in Python, which reads a batch of CIFAR-10 in 15 ms: that in C
    # makes room for as many objects as an opcode asks for, 64 GB for one wrong byte.
    # The opcode that does so here is taken out.
    dispatch: ClassVar = {
        code: load
        for code, load in pickle._Unpickler.dispatch.items()
        if code != pickle.BYTEARRAY8[0]
    }

    def find_class(self, module: str, name: str, /) -> Any:
        try:
            return _GLOBALS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"the forbidden global {module}.{name}, which would run code"
            ) from None


def loads(content: bytes) -> Any:
    """What a pickle holds: builtin objects, and a `PickledArray` for each array.

    Strings of Python 2 are bytes.

    Raises:
        ValueError: if the pickle asks for anything else, or is damaged.
    """
    try:
        return _Unpickler(io.BytesIO(content), encoding="bytes").load()
    except pickle.UnpicklingError as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # whatever the opcodes of a damaged pickle fail with
        reason = f"{type(error).__name__} {error}".strip()
        raise ValueError(f"a damaged pickle ({reason})") from error
