"""Where data sets are looked for, whole reads, and writes that leave no half file."""

import contextlib
import gzip
import os
import secrets
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from lucid_fn.data.checks import check_path

GZIP_MAGIC = b"\x1f\x8b"


def data_folder(root: str | os.PathLike[str] | None, name: str, caller: str) -> Path:
    """`root`, or the default folder of a data set.

    That is `$LUCID_FN_DATA/<name>` if the variable is set, else
    `~/.cache/lucid_fn/<name>`.
    """
    if root is not None:
        return check_path(caller, "root", root)
    base = os.environ.get("LUCID_FN_DATA") or "~/.cache/lucid_fn"
    return Path(base).expanduser() / name


def read_file(path: Path, caller: str) -> bytes:
    """All bytes of a file, unpacked if its name ends in `.gz`.

    Raises:
        ValueError: if the file is empty, or is not whole gzip where its name says so,
            or is gzip where its name does not.
    """
    content = path.read_bytes()
    if not content:
        raise ValueError(
            f"{caller}: {path} must hold data, got an empty file; replace it"
        )
    packed = content.startswith(GZIP_MAGIC)
    if path.suffix != ".gz":
        if packed:
            raise ValueError(
                f"{caller}: {path} must not be packed, got gzip data; "
                f"rename it to {path.name}.gz"
            )
        return content
    if not packed:
        raise ValueError(
            f"{caller}: {path} must be gzip data, as its name says, got a file that "
            f"begins with {content[:4].hex(' ')}; if it is unpacked already, rename "
            f"it to {path.stem}, else replace it"
        )
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"{caller}: {path} must be whole gzip data, got a truncated or damaged "
            f"file ({error}); replace it"
        ) from error


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file to write; it takes the name `path` at the end, if there was no error.

    A reader sees the old file or the new one, never a part, even if the process dies.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
