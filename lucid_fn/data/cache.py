"""Decoded data sets on disk, as NumPy files that are mapped into memory."""

import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid_fn.data.dataset import Dataset
from lucid_fn.io import atomic_write, make_folder, reading

FORMAT = 2  # of the files below; a cache of another one is made again
METADATA = "metadata.json"
_LONGEST_METADATA = 1 << 20  # bytes; a thousand times what is written

Fingerprints = dict[str, dict[str, int]]


def fingerprints(paths: Iterable[Path], caller: str) -> Fingerprints:
    """Size and CRC-32 of each file, by its name."""
    found = {}
    for path in paths:
        size, crc = 0, 0
        with reading(path, caller=caller) as file:
            while chunk := file.read(1 << 20):
                size, crc = size + len(chunk), zlib.crc32(chunk, crc)
        found[path.name] = {"size": size, "crc32": crc}
    return found


def read_cache(folder: Path, sources: Fingerprints, caller: str) -> Dataset | None:
    """The data set cached in `folder`, or `None` if it has to be made again.

    That is so if a file is missing or damaged, or if it was made from other sources
    or in another format, also by another process at this moment.
    """
    paths = _array_paths(folder)
    try:
        with open(folder / METADATA, "rb") as file:
            metadata = json.loads(file.read(_LONGEST_METADATA))
        checked = _inodes(paths)
        expected = {
            "format": FORMAT,
            "sources": sources,
            "files": fingerprints(paths, caller),
        }
        if not isinstance(metadata, dict):
            return None
        if any(metadata.get(name) != value for name, value in expected.items()):
            return None
        dataset = Dataset(*(_map(path) for path in paths))
        return dataset if _inodes(paths) == checked else None
    except (OSError, ValueError, RecursionError):
        return None


def write_cache(
    folder: Path, dataset: Dataset, sources: Fingerprints, caller: str
) -> None:
    """Writes a data set, and the description by which `read_cache` trusts it, last."""
    make_folder(folder, caller=caller)
    arrays: dict[str, NDArray[Any]] = dataset._asdict()
    files = {}
    for path, array in zip(_array_paths(folder), arrays.values(), strict=True):
        with atomic_write(path, caller=caller) as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            # Of this process's file: another's may be in its place right after.
            (files[path.name],) = fingerprints([Path(file.name)], caller).values()
    metadata = {
        "format": FORMAT,
        "sources": sources,
        "files": files,
        "arrays": {
            name: {"shape": array.shape, "dtype": str(array.dtype)}
            for name, array in arrays.items()
        },
    }
    with atomic_write(folder / METADATA, caller=caller) as file:
        file.write(json.dumps(metadata, indent=2).encode())


def _array_paths(folder: Path) -> list[Path]:
    return [folder / f"{name}.npy" for name in Dataset._fields]


def _inodes(paths: list[Path]) -> list[int]:
    """What tells a file from one that has been put in its place."""
    return [path.stat().st_ino for path in paths]


def _map(path: Path) -> Any:
    """The array of a file, read-only; its pages are loaded when they are touched."""
    return np.lib.format.open_memmap(path, mode="r").view(np.ndarray)
