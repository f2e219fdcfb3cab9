"""Read IDX, the file format of MNIST: a magic number, the shape, then the data.

Source: LeCun, Cortes & Burges, "The MNIST database of handwritten digits",
http://yann.lecun.com/exdb/mnist/.
"""

import math
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from lucid_fn.data.files import open_decompressed, read_at_most

_CHUNK = 1 << 20
_UNSIGNED_BYTE = 0x08
_MAX_ROWS = 1_000_000
"""More rows than any data set in this format has; a gzip bomb may claim billions."""


def read_idx(
    path: Path, shape: tuple[int | None, ...], caller: str
) -> NDArray[np.uint8]:
    """Read the array of unsigned bytes of an IDX file, plain or `.gz`.

    Args:
        path: the file.
        shape: the expected shape; `None` stands for any length from 1 to a million.
        caller: the name that errors begin with.

    Raises:
        OSError: if the file cannot be read; the message names it.
        ValueError: if the file has another format or shape, or is damaged.
    """
    with open_decompressed(path, caller) as stream:
        return parse_idx(stream, shape, where=f"{caller}: {path}")


def parse_idx(
    stream: IO[bytes], shape: tuple[int | None, ...], *, where: str
) -> NDArray[np.uint8]:
    """Parse an IDX file from a stream, reading hardly more than its header declares.

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
    """Validate the header and return the shape in it."""
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
    if max(found) > _MAX_ROWS:
        raise ValueError(
            f"{where} must hold at most {_MAX_ROWS} rows, got {found}; split it"
        )
    return found


def _hint(header: bytes, magic: bytes) -> str:
    """Guess what a file with a wrong magic number is."""
    if header[:3] == magic[:3] and len(header) > 3:
        return (
            f", an IDX file of {header[3]} axes; images have 3 axes and labels 1: "
            "are two files swapped?"
        )
    return "; it is not such a file: replace it"
