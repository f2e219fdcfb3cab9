"""IDX, the file format of MNIST: a magic number, the shape, then the bytes.

Source: LeCun, Cortes & Burges, "The MNIST database of handwritten digits",
http://yann.lecun.com/exdb/mnist/.
"""

import math
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from lucid_fn.data.files import read_at_most, unpacked

_CHUNK = 1 << 20
_UNSIGNED_BYTE = 0x08
_MOST_ROWS = 1_000_000
"""More than any data set in this format has; a gzip bomb may claim billions."""


def read_idx(
    path: Path, shape: tuple[int | None, ...], caller: str
) -> NDArray[np.uint8]:
    """The array of unsigned bytes that an IDX file holds, plain or `.gz`.

    Args:
        path: the file.
        shape: what the array must have; `None` for any length from 1 to a million.
        caller: the name that errors begin with.

    Raises:
        OSError: if the file cannot be read; the message names it.
        ValueError: if the file is of another kind or shape, or damaged; the message
            names it.
    """
    with unpacked(path, caller) as stream:
        return parse_idx(stream, shape, where=f"{caller}: {path}")


def parse_idx(
    stream: IO[bytes], shape: tuple[int | None, ...], *, where: str
) -> NDArray[np.uint8]:
    """The array of unsigned bytes in an IDX file, of which no more is read than it has.

    Raises:
        ValueError: as `read_idx`; the message begins with `where`.
    """
    length = 4 + 4 * len(shape)
    header = bytes(read_at_most(stream, length))
    found = _parse_header(header, shape, where)
    size = math.prod(found)
    content = read_at_most(stream, size)
    more = len(read_at_most(stream, _CHUNK))
    if len(content) < size or more:
        state = f"{size - len(content)} missing: it is truncated"
        if more:
            state = f"{more}{' and more' * (more == _CHUNK)} too many"
        raise ValueError(
            f"{where} must have {length + size} bytes for an array of shape {found}, "
            f"got {length + len(content) + more}, {state}; replace it"
        )
    return np.frombuffer(content, np.uint8).reshape(found)


def _parse_header(
    header: bytes, shape: tuple[int | None, ...], where: str
) -> tuple[int, ...]:
    """The shape that the header says, if it may be so."""
    magic = bytes((0, 0, _UNSIGNED_BYTE, len(shape)))
    if header[:4] != magic:
        raise ValueError(
            f"{where} must begin with the magic number {magic.hex()} (IDX, unsigned "
            f"bytes, {len(shape)} axes), got {header[:4].hex()}{_hint(header, magic)}"
        )
    if len(header) < 4 + 4 * len(shape):
        raise ValueError(
            f"{where} must have a header of {4 + 4 * len(shape)} bytes, got "
            f"{len(header)} bytes in all; it is truncated: replace it"
        )
    found: tuple[int, ...] = tuple(
        np.frombuffer(header, ">u4", len(shape), offset=4).tolist()
    )
    if not all(
        n == want or (want is None and n) for n, want in zip(found, shape, strict=True)
    ):
        wanted = ", ".join("N" if want is None else str(want) for want in shape)
        raise ValueError(
            f"{where} must hold an array of shape ({wanted}), N positive, got "
            f"{found}; replace it"
        )
    if max(found) > _MOST_ROWS:
        raise ValueError(
            f"{where} must hold at most {_MOST_ROWS} rows, got {found}; cut it in parts"
        )
    return found


def _hint(header: bytes, magic: bytes) -> str:
    """What a file with a wrong magic number probably is."""
    if header[:3] == magic[:3] and len(header) > 3:
        return (
            f", an IDX file of {header[3]} axes; images have 3 axes and labels 1: "
            "are two files swapped?"
        )
    return "; it is not such a file: replace it"
