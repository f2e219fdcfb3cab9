"""Small files that unpack to large ones take no memory for it."""

import gzip
import io
import struct
import tarfile
import tracemalloc

import numpy as np
import pytest

from lucid_fn import data
from lucid_fn.data.idx import parse_idx

LABELS = "train-labels-idx1-ubyte.gz"
IMAGES = "train-images-idx3-ubyte.gz"
MEGABYTE = 1 << 20


def zeros(path, start=b"", megabytes=40):
    """A gzip file of some bytes and then zeros: a thousandth of their size."""
    path.unlink(missing_ok=True)
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(start)
        for _ in range(megabytes):
            file.write(bytes(MEGABYTE))
    return path


def peak_of(call, message):
    """The megabytes that were in use at once, until the call raised the message."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            call()
        return tracemalloc.get_traced_memory()[1] / MEGABYTE
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("name", "start", "message"),
    [
        (LABELS, b"", "must begin with the magic number"),
        (LABELS, struct.pack(">HBBI", 0, 8, 1, 7), "must have 15 bytes .* too many"),
        (LABELS, struct.pack(">HBBI", 0, 8, 1, 10**9), "at most 1000000 rows"),
        (IMAGES, struct.pack(">HBB3I", 0, 8, 3, 7, 28, 28), "and more too many"),
        (IMAGES, struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 28, 28), "at most 1000000"),
    ],
)
def test_mnist_takes_no_more_than_the_header_may_say(
    mnist_folder, name, start, message
):
    path = mnist_folder / name
    (mnist_folder / path.stem).unlink()
    zeros(path, start)
    peak = peak_of(
        lambda: data.load_mnist(mnist_folder), rf"{name} {message}|{message}"
    )
    assert peak < 8


def test_a_promise_takes_no_memory():
    start = struct.pack(">HBB3I", 0, 8, 3, 10**6, 28, 28)
    stream = io.BytesIO(start + bytes(1000))
    peak = peak_of(lambda: parse_idx(stream, (None, 28, 28), where="test"), "missing")
    assert peak < 4


def test_a_batch_of_cifar_takes_no_more_than_a_batch_may_have(tmp_path):
    zeros(tmp_path / "test_batch.bin.gz", megabytes=200)
    peak = peak_of(lambda: data.load_cifar10(tmp_path), "must hold at most 67108864 by")
    assert peak < 160  # twice the bound, while the bytes are growing


@pytest.mark.parametrize("kind", [b"x", b"L", b"g"])
def test_a_header_of_an_archive_cannot_ask_for_memory(tmp_path, kind):
    member = tarfile.TarInfo("name")
    member.type, member.size = kind, 180 * MEGABYTE
    zeros(tmp_path / "cifar-10-binary.tar.gz", member.tobuf(tarfile.USTAR_FORMAT), 1)
    peak = peak_of(
        lambda: data.load_cifar10(tmp_path), r"a damaged file .* \(a part of 188743680"
    )
    assert peak < 8


def test_an_archive_of_countless_files_is_refused(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for number in range(1001):
            tar.addfile(tarfile.TarInfo(str(number)))
    with pytest.raises(ValueError, match="must hold at most 1000 files, got more"):
        data.load_cifar10(tmp_path)


def test_a_cached_array_that_is_an_archive_is_made_again(tmp_path):
    rows = np.zeros((2, 3073), np.uint8)
    for name in ("data_batch_1", "test_batch"):
        (tmp_path / f"{name}.bin").write_bytes(rows.tobytes())
    cache = tmp_path / "cache"
    data.load_cifar10(tmp_path, cache=cache)
    np.savez_compressed(cache / "a.npz", x=np.zeros(MEGABYTE))
    (cache / "a.npz").rename(cache / "test_images.npy")
    assert data.load_cifar10(tmp_path, cache=cache).test_images.shape == (2, 32, 32, 3)
