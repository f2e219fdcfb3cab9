"""Download a file from the first mirror that has it unchanged."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from lucid_fn.io import atomic_write, make_folder

TIMEOUT = 30.0  # seconds without a byte from the server
_CHUNK = 1 << 20
_ALGORITHMS = {64: "sha256", 32: "md5"}  # by the digits of a checksum


class Download(NamedTuple):
    """A file to download, with the size and checksum it must have."""

    name: str
    size: int  # bytes
    checksum: str  # SHA-256 or MD5, in hexadecimal


def fetch(file: Download, mirrors: tuple[str, ...], folder: Path, caller: str) -> Path:
    """Download a file to `folder`, from the first mirror that sends it unchanged.

    Args:
        file: its name, size and checksum.
        mirrors: URLs to which the file's name is appended.
        folder: created if it does not exist.
        caller: the name that errors begin with.

    Raises:
        OSError: if no mirror does; the message lists the failure of each.
    """
    # Imported here, since it would add 30 ms to `import lucid_fn`.
    from http.client import HTTPException

    make_folder(folder, caller=caller)
    path = folder / file.name
    failures = []
    for mirror in mirrors:
        try:
            _fetch_from(mirror + file.name, file, path, caller)
        except (OSError, ValueError, HTTPException) as error:
            failures.append(f"{mirror}{file.name}: {error}")
        else:
            return path
    raise OSError(
        f"{caller}: could not download {file.name}; check the network, or put the "
        f"file into {folder} yourself\n  " + "\n  ".join(failures)
    )


def _fetch_from(url: str, file: Download, path: Path, caller: str) -> None:
    from urllib.request import urlopen

    name = _ALGORITHMS[len(file.checksum)]
    digest, received = hashlib.new(name, usedforsecurity=False), 0
    with (
        urlopen(url, timeout=TIMEOUT) as response,
        atomic_write(path, caller=caller) as out,
    ):
        while chunk := response.read(_CHUNK):
            digest.update(chunk)
            received += len(chunk)
            if received > file.size:
                break
            out.write(chunk)
        if received != file.size:
            more = "more than " if received > file.size else f"{received} of "
            raise ValueError(f"sent {more}{file.size} bytes")
        if digest.hexdigest() != file.checksum:
            raise ValueError(
                f"sent a file with {name} {digest.hexdigest()}, not {file.checksum}"
            )
