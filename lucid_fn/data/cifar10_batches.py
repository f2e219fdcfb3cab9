"""The files of CIFAR-10: where they are, and what each of them holds.

A batch is `data_batch_1` to `data_batch_5` or `test_batch`. The binary version adds
`.bin` to the name: records of a label byte and 3072 pixel bytes, 32 x 32 of red, then
green, then blue. The Python version is a pickled dict of an array of such pixels and a
list of labels.

Source: Krizhevsky, https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lucid_fn.data.files import read_file
from lucid_fn.data.numpy_pickle import bytes_array
from lucid_fn.io import Opaque, reading, unpickle

CALLER = "load_cifar10"
TEST_BATCH = "test_batch"
TRAIN_BATCHES = tuple(f"data_batch_{i}" for i in range(1, 6))
BATCHES = (*TRAIN_BATCHES, TEST_BATCH)
FOLDERS = ("cifar-10-batches-bin", "cifar-10-batches-py")
ARCHIVES = ("cifar-10-binary.tar.gz", "cifar-10-python.tar.gz")

_PIXELS = 3 * 32 * 32
_LARGEST_FILE = 64 << 20  # twice what a batch takes
_MOST_MEMBERS = 1000  # the archives have nine


class _BoundedGzip(gzip.GzipFile):
    """Unpacks no more at a time than a batch has, whatever a header asks for."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= _LARGEST_FILE:
            raise tarfile.ReadError(f"a part of {size} bytes")
        return super().read(size)


class Batch(NamedTuple):
    """Images uint8 `(N, 32, 32, 3)` and labels int32 `(N,)` in [0, 10)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]


def find_source(root: Path) -> Path | None:
    """The folder or archive below `root` that holds batches, or `root` itself."""
    if root.is_file():
        return root
    for folder in (root, *(root / name for name in FOLDERS)):
        if batch_files(folder):
            return folder
    archives = (root / name for name in ARCHIVES)
    return next((path for path in archives if path.is_file()), None)


def batch_files(folder: Path) -> dict[str, Path]:
    """The file of each batch in a folder; of several forms the binary one."""
    files = {}
    for batch in BATCHES:
        candidates = (folder / (batch + suffix) for suffix in (".bin", ".bin.gz", ""))
        for path in candidates:
            if path.is_file():
                files[batch] = path
                break
    return files


def read_batches(source: Path) -> dict[str, Batch]:
    """The batches in a folder or an archive, by name.

    Raises:
        ValueError: if a file is damaged; the message names it.
    """
    if source.is_dir():
        return {
            name: _decode(
                path.name,
                bytes(read_file(path, CALLER, limit=_LARGEST_FILE)),
                where=str(path),
            )
            for name, path in batch_files(source).items()
        }
    batches: dict[str, Batch] = {}
    try:
        for path, content in _archived_files(source):
            name = path.name.removesuffix(".bin")
            if name in batches:
                raise ValueError(f"{CALLER}: {source} holds {name} twice; replace it")
            batches[name] = _decode(path.name, content, where=f"{source}: {path}")
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"{CALLER}: {source} must be a folder of batches or a whole .tar.gz "
            f"archive, got a damaged file or one of another kind ({error}); replace it"
        ) from error
    return batches


def _archived_files(archive: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The batches in an archive, read from the stream: nothing is extracted."""
    with (
        reading(archive, caller=CALLER) as file,
        _BoundedGzip(fileobj=file) as stream,
        tarfile.open(fileobj=stream, mode="r:") as tar,
    ):
        for number, member in enumerate(tar):
            if number == _MOST_MEMBERS:
                raise ValueError(
                    f"{CALLER}: {archive} must hold at most {_MOST_MEMBERS} files, got "
                    "more; replace it"
                )
            path = PurePosixPath(member.name)
            batch = path.name.removesuffix(".bin")
            if str(path.parent) not in FOLDERS or batch not in BATCHES:
                continue
            content = tar.extractfile(member) if member.isreg() else None
            if content is None or member.size > _LARGEST_FILE:
                kind = f"{member.size} bytes" if content else "a link or device"
                raise ValueError(
                    f"{CALLER}: {archive} must hold {path} as a file of at most "
                    f"{_LARGEST_FILE} bytes, got {kind}; replace it"
                )
            yield path, content.read()


def _decode(filename: str, content: bytes, *, where: str) -> Batch:
    binary = ".bin" in filename
    pixels, labels = (_read_binary if binary else _read_pickle)(content, where)
    if not len(labels):
        raise ValueError(f"{CALLER}: {where} must hold images, got none; replace it")
    wrong = np.flatnonzero((labels < 0) | (labels > 9))
    if len(wrong):
        raise ValueError(
            f"{CALLER}: {where} must hold labels in [0, 10), got {labels[wrong[0]]} at "
            f"index {wrong[0]}; it is damaged or not CIFAR-10: replace it"
        )
    images = np.empty((len(labels), 32 * 32, 3), np.uint8)
    for channel in range(3):  # three times as fast as a transposed copy
        images[:, :, channel] = pixels[:, 1024 * channel : 1024 * (channel + 1)]
    return Batch(images.reshape(-1, 32, 32, 3), labels.astype(np.int32))


def _read_binary(
    content: bytes, where: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    if len(content) % (1 + _PIXELS):
        raise ValueError(
            f"{CALLER}: {where} must hold records of {1 + _PIXELS} bytes, got "
            f"{len(content)} bytes, {len(content) % (1 + _PIXELS)} of them left over; "
            "it is truncated or not CIFAR-10: replace it"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, 1 + _PIXELS)
    return records[:, 1:], records[:, 0].astype(np.int64)


def _read_pickle(
    content: bytes, where: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        batch = unpickle(content, encoding="bytes")
        match batch:
            case {b"data": Opaque() as array, b"labels": list(found)}:
                pixels = bytes_array(array)
            case _:
                raise ValueError(f"a {type(batch).__name__} without these two")
        if not all(type(label) is int and abs(label) < 2**31 for label in found):
            raise ValueError("labels that are not integers")
        if pixels.shape != (len(found), _PIXELS):
            raise ValueError(f"data of shape {pixels.shape} and {len(found)} labels")
    except ValueError as error:
        raise ValueError(
            f"{CALLER}: {where} must be a pickled dict of b'data', bytes of shape "
            f"(N, {_PIXELS}), and b'labels', N integers, got {error}; replace it"
        ) from error
    return pixels, np.array(found, np.int64)
