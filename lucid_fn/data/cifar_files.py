"""Find and decode the files of CIFAR-10 and CIFAR-100.

A batch of the binary version has the suffix `.bin`. It consists of records: one label
byte (two in CIFAR-100), then 3072 pixel bytes, 32 x 32 of red, then green, then blue.
The Python version is a pickled dict with an array of such pixels and one list of labels
(or two).

Source: Krizhevsky, https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import gzip
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lucid_fn.data.files import read_file
from lucid_fn.data.numpy_pickle import bytes_array
from lucid_fn.io import Opaque, reading, unpickle

_PIXELS = 3 * 32 * 32
_MAX_MEMBERS = 1000  # the archives have nine


class Layout(NamedTuple):
    """The file names of a data set, and its labels."""

    caller: str  # the name that errors begin with
    title: str
    train_batches: tuple[str, ...]
    test_batch: str
    folders: tuple[str, str]  # the binary and the Python version
    archives: tuple[str, str]
    labels: dict[bytes, int]  # key in a pickle: number of classes, in a record's order
    largest_file: int  # bytes, twice the size of a batch

    @property
    def batches(self) -> tuple[str, ...]:
        """The names of all batches."""
        return (*self.train_batches, self.test_batch)


class _BoundedGzip(gzip.GzipFile):
    """Refuses reads of more than the size of a batch, whatever a header says."""

    def __init__(self, file: IO[bytes], largest: int) -> None:
        super().__init__(fileobj=file)
        self._largest = largest

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= self._largest:
            raise tarfile.ReadError(f"a part of {size} bytes")
        return super().read(size)


class Batch(NamedTuple):
    """Images uint8 `(N, 32, 32, 3)` and labels int32 `(N, kinds of labels)`."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int32]


def find_source(layout: Layout, root: Path) -> Path | None:
    """The folder or archive with batches: `root` itself or one in it."""
    if root.is_file():
        return root
    for folder in (root, *(root / name for name in layout.folders)):
        if batch_files(layout, folder):
            return folder
    archives = (root / name for name in layout.archives)
    return next((path for path in archives if path.is_file()), None)


def batch_files(layout: Layout, folder: Path) -> dict[str, Path]:
    """The file of each batch in a folder, the binary one if there are several."""
    files = {}
    for batch in layout.batches:
        candidates = (folder / (batch + suffix) for suffix in (".bin", ".bin.gz", ""))
        for path in candidates:
            if path.is_file():
                files[batch] = path
                break
    return files


def read_batches(layout: Layout, source: Path) -> dict[str, Batch]:
    """Read the batches of a folder or an archive, by name.

    Raises:
        ValueError: if a file is damaged; the message names it.
    """
    caller = layout.caller
    if source.is_dir():
        return {
            name: _decode(
                layout,
                path.name,
                bytes(read_file(path, caller, limit=layout.largest_file)),
                where=str(path),
            )
            for name, path in batch_files(layout, source).items()
        }
    batches: dict[str, Batch] = {}
    try:
        for path, content in _archived_files(layout, source):
            name = path.name.removesuffix(".bin")
            if name in batches:
                raise ValueError(f"{caller}: {source} holds {name} twice; replace it")
            batches[name] = _decode(
                layout, path.name, content, where=f"{source}: {path}"
            )
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"{caller}: {source} must be a folder of batches or a whole .tar.gz "
            f"archive, got a damaged file or one of another kind ({error}); replace it"
        ) from error
    return batches


def _archived_files(
    layout: Layout, archive: Path
) -> Iterator[tuple[PurePosixPath, bytes]]:
    """Stream the batches of an archive, without extracting it."""
    caller, largest = layout.caller, layout.largest_file
    with (
        reading(archive, caller=caller) as file,
        _BoundedGzip(file, largest) as stream,
        tarfile.open(fileobj=stream, mode="r:") as tar,
    ):
        for number, member in enumerate(tar):
            if number == _MAX_MEMBERS:
                raise ValueError(
                    f"{caller}: {archive} must contain at most {_MAX_MEMBERS} files, "
                    "got more; replace it"
                )
            path = PurePosixPath(member.name)
            batch = path.name.removesuffix(".bin")
            if str(path.parent) not in layout.folders or batch not in layout.batches:
                continue
            content = tar.extractfile(member) if member.isreg() else None
            if content is None or member.size > largest:
                kind = f"{member.size} bytes" if content else "a link or device"
                raise ValueError(
                    f"{caller}: {archive} must hold {path} as a file of at most "
                    f"{largest} bytes, got {kind}; replace it"
                )
            yield path, content.read()
        # gzip's checksum follows the padding, which `tarfile` does not read.
        if len(stream.read(largest)) == largest:
            raise ValueError(
                f"{caller}: {archive} must end after its files, got {largest} bytes or "
                "more behind them; replace it"
            )


def _decode(layout: Layout, filename: str, content: bytes, *, where: str) -> Batch:
    read, caller = _read_binary if ".bin" in filename else _read_pickle, layout.caller
    pixels, labels = read(layout, content, where)
    if not len(labels):
        raise ValueError(f"{caller}: {where} must hold images, got none; replace it")
    for kind, num_classes in zip(labels.T, layout.labels.values(), strict=True):
        wrong = np.flatnonzero((kind < 0) | (kind >= num_classes))
        if len(wrong):
            raise ValueError(
                f"{caller}: {where} must hold labels in [0, {num_classes}), got "
                f"{kind[wrong[0]]} at index {wrong[0]}; it is damaged or not "
                f"{layout.title}: replace it"
            )
    images = np.empty((len(labels), 32 * 32, 3), np.uint8)
    for channel in range(3):  # three times as fast as a transposed copy
        images[:, :, channel] = pixels[:, 1024 * channel : 1024 * (channel + 1)]
    return Batch(images.reshape(-1, 32, 32, 3), labels.astype(np.int32))


def _read_binary(
    layout: Layout, content: bytes, where: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    kinds = len(layout.labels)
    size = kinds + _PIXELS
    if len(content) % size:
        raise ValueError(
            f"{layout.caller}: {where} must hold records of {size} bytes, got "
            f"{len(content)} bytes, {len(content) % size} of them left over; it is "
            f"truncated or not {layout.title}: replace it"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    return records[:, kinds:], records[:, :kinds].astype(np.int64)


def _read_pickle(
    layout: Layout, content: bytes, where: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        batch = unpickle(content, encoding="bytes")
        fields = batch if isinstance(batch, dict) else {}
        array = fields.get(b"data")
        kinds: list[Any] = [fields.get(key) for key in layout.labels]
        if not isinstance(array, Opaque) or not all(isinstance(x, list) for x in kinds):
            raise ValueError(f"a {type(batch).__name__} without these")
        pixels = bytes_array(array)
        for found in kinds:
            if not all(type(label) is int and abs(label) < 2**31 for label in found):
                raise ValueError("labels that are not integers")
            if pixels.shape != (len(found), _PIXELS):
                raise ValueError(
                    f"data of shape {pixels.shape} and {len(found)} labels"
                )
    except ValueError as error:
        raise ValueError(
            f"{layout.caller}: {where} must be a pickled dict of b'data', bytes of "
            f"shape (N, {_PIXELS}), and {' and '.join(map(repr, layout.labels))}, N "
            f"integers, got {error}; replace it"
        ) from error
    return pixels, np.array(kinds, np.int64).T
