"""Folders of data sets, and bounded reads of packed files."""

import contextlib
import gzip
import os
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from lucid_fn import io

GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 20


def data_folder(root: str | os.PathLike[str] | None, name: str, caller: str) -> Path:
    """`root`, or by default `$LUCID_FN_DATA/<name>` or `~/.cache/lucid_fn/<name>`."""
    if root is not None:
        return io.check_path(caller, "root", root)
    base = os.environ.get("LUCID_FN_DATA") or "~/.cache/lucid_fn"
    return Path(base).expanduser() / name


@contextlib.contextmanager
def open_decompressed(path: Path, caller: str) -> Iterator[IO[bytes]]:
    """Open a file as a stream, decompressed if its name ends in `.gz`.

    `archive.zip/folder/file` is read from the archive, without extracting it.

    Raises:
        OSError: if the file cannot be read; the message names it.
        ValueError: if the file is empty, is damaged gzip data, or its content does not
            agree with its suffix; raised here or during a read.
    """
    with _open_member(path, caller) as file:
        start = file.peek(4)[:4]
        _check_kind(path, start, caller)
        if path.suffix != ".gz":
            yield file
            return
        try:
            with gzip.GzipFile(fileobj=file) as stream:
                yield cast(IO[bytes], stream)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ValueError(
                f"{caller}: {path} must be whole gzip data, got a truncated or damaged "
                f"file ({error}); replace it"
            ) from error


@contextlib.contextmanager
def _open_member(path: Path, caller: str) -> Iterator[Any]:
    """Open a file, or a member of an archive given as `archive.zip/folder/file`."""
    archive = next((folder for folder in path.parents if folder.is_file()), None)
    with io.reading(archive or path, caller=caller) as file:
        if archive is None:
            yield file
            return
        name = path.relative_to(archive).as_posix()
        try:
            with zipfile.ZipFile(file) as zipped, zipped.open(name) as member:
                yield member
        except (zipfile.BadZipFile, KeyError, RuntimeError) as error:
            raise ValueError(
                f"{caller}: {archive} must be a whole zip archive with {name}, got a "
                f"damaged or different file ({error}); replace it"
            ) from error


def _check_kind(path: Path, start: bytes, caller: str) -> None:
    if not start:
        raise ValueError(
            f"{caller}: {path} must hold data, got an empty file; replace it"
        )
    packed = start.startswith(GZIP_MAGIC)
    if packed and path.suffix != ".gz":
        raise ValueError(
            f"{caller}: {path} must not be packed, got gzip data; "
            f"rename it to {path.name}.gz"
        )
    if not packed and path.suffix == ".gz":
        raise ValueError(
            f"{caller}: {path} must be gzip data, as its name says, got a file that "
            f"begins with {start.hex(' ')}; if it is unpacked already, rename "
            f"it to {path.stem}, else replace it"
        )


def read_at_most(stream: IO[bytes], size: int) -> bytearray:
    """Read the next `size` bytes of a stream, or fewer at its end.

    Memory is allocated as bytes arrive, so a false header cannot demand any amount.
    """
    content = bytearray()
    while len(content) < size:
        chunk = stream.read(min(_CHUNK, size - len(content)))
        if not chunk:
            break
        content += chunk
    return content


def read_file(path: Path, caller: str, *, limit: int) -> bytearray:
    """Read a whole file, decompressed if its name ends in `.gz`.

    Raises:
        OSError, ValueError: as `open_decompressed`; also if there are more than
            `limit` bytes.
    """
    with open_decompressed(path, caller) as stream:
        content = read_at_most(stream, limit)
        if stream.read(1):  # reading past the end verifies gzip's checksum
            raise ValueError(
                f"{caller}: {path} must hold at most {limit} bytes, got more; replace "
                "it"
            )
    return content
