"""Rebuild pickled NumPy arrays of bytes from their placeholders."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid_fn.io import Opaque


def bytes_array(pickled: Any) -> NDArray[np.uint8]:
    """Rebuild the uint8 array for which an `Opaque` of `io.unpickle` stands.

    Raises:
        ValueError: if it stands for something else, or its size contradicts its shape.
    """
    match pickled:
        case Opaque(
            name="numpy.core.multiarray._reconstruct"
            | "numpy._core.multiarray._reconstruct",
            state=(
                _,
                tuple(shape),
                Opaque(name="numpy.dtype", args=("u1" | b"u1", *_)),
                bool(is_fortran),
                bytes(content),
            ),
        ):
            sizes = [n for n in shape if type(n) is int and n >= 0]
            if len(sizes) == len(shape) and math.prod(sizes) == len(content):
                flat = np.frombuffer(content, np.uint8)
                return flat.reshape(sizes, order="F" if is_fortran else "C")
    raise ValueError("an array of other things than unsigned bytes")
