"""A cache of decoded data sets: NumPy files that are memory-mapped."""

import json
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid_fn.data.dataset import Dataset
from lucid_fn.io import atomic_write, make_folder, reading

FORMAT = 2  # version of the cache; others are rebuilt
METADATA = "metadata.json"
_MAX_METADATA = 1 << 20  # bytes; about 1 KB is written

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
    """Load the data set cached in `folder`; `None` if it must be rebuilt.

    It must be if a file is missing or damaged, was made from other sources or in
    another format, or is being replaced by another process.
    """
    paths = _array_paths(folder)
    try:
        with open(folder / METADATA, "rb") as file:
            metadata = json.loads(file.read(_MAX_METADATA))
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
        dataset = Dataset(*(_memory_map(path) for path in paths))
        return dataset if _inodes(paths) == checked else None
    except (OSError, ValueError, RecursionError):
        return None


def write_cache(
    folder: Path, dataset: Dataset, sources: Fingerprints, caller: str
) -> None:
    """Write a data set, and last the metadata by which `read_cache` validates it."""
    make_folder(folder, caller=caller)
    arrays: dict[str, NDArray[Any]] = dataset._asdict()
    files = {}
    for path, array in zip(_array_paths(folder), arrays.values(), strict=True):
        with atomic_write(path, caller=caller) as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            # Before the rename: another process may replace the file right after it.
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
    """Inode numbers, which change when a file is replaced."""
    return [path.stat().st_ino for path in paths]


def _memory_map(path: Path) -> Any:
    """Map a file into memory, read-only: pages are loaded when they are used."""
    return np.lib.format.open_memmap(path, mode="r").view(np.ndarray)
