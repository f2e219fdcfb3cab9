"""IDX, the file format of MNIST: a magic number, the shape, then the bytes.

Source: LeCun, Cortes & Burges, "The MNIST database of handwritten digits",
http://yann.lecun.com/exdb/mnist/.
"""

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lucid_fn.data.files import read_file

_UNSIGNED_BYTE = 0x08


def read_idx(
    path: Path, shape: tuple[int | None, ...], caller: str
) -> NDArray[np.uint8]:
    """The array of unsigned bytes that an IDX file holds, plain or `.gz`.

    Args:
        path: the file.
        shape: what the array must have; `None` for any positive length.
        caller: the name that errors begin with.

    Raises:
        ValueError: if the file is of another kind or shape, or damaged; the message
            names it.
    """
    content = read_file(path, caller)
    return parse_idx(content, shape, where=f"{caller}: {path}")


def parse_idx(
    content: bytes, shape: tuple[int | None, ...], *, where: str
) -> NDArray[np.uint8]:
    """The array of unsigned bytes in the content of an IDX file.

    Raises:
        ValueError: as `read_idx`; the message begins with `where`.
    """
    magic = bytes((0, 0, _UNSIGNED_BYTE, len(shape)))
    if content[:4] != magic:
        raise ValueError(
            f"{where} must begin with the magic number {magic.hex()} (IDX, unsigned "
            f"bytes, {len(shape)} axes), got {content[:4].hex()}{_hint(content, magic)}"
        )
    header = 4 + 4 * len(shape)
    if len(content) < header:
        raise ValueError(
            f"{where} must have a header of {header} bytes, got {len(content)} bytes "
            "in all; it is truncated: replace it"
        )
    found = tuple(np.frombuffer(content, ">u4", len(shape), offset=4).tolist())
    if not all(
        n == want or (want is None and n) for n, want in zip(found, shape, strict=True)
    ):
        wanted = ", ".join("N" if want is None else str(want) for want in shape)
        raise ValueError(
            f"{where} must hold an array of shape ({wanted}), N positive, "
            f"got {found}; replace it"
        )
    size = math.prod(found)
    if len(content) != header + size:
        difference = len(content) - header - size
        state = "missing: it is truncated" if difference < 0 else "too many"
        raise ValueError(
            f"{where} must have {header + size} bytes for an array of shape {found}, "
            f"got {len(content)}, {abs(difference)} {state}; replace it"
        )
    # A copy, as arrays on `bytes` are read-only.
    return np.frombuffer(content, np.uint8, offset=header).reshape(found).copy()


def _hint(content: bytes, magic: bytes) -> str:
    """What a file with a wrong magic number probably is."""
    if content[:3] == magic[:3] and len(content) > 3:
        return (
            f", an IDX file of {content[3]} axes; images have 3 axes and labels 1: "
            "are two files swapped?"
        )
    return "; it is not such a file: replace it"
