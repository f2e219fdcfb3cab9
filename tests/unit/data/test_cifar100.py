"""`load_cifar100`: fine and coarse labels in both versions."""

import gzip
import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest

from lucid_fn import data
from lucid_fn.data import cifar100
from lucid_fn.data.download import Download


def records(seed, n):
    """A batch of the binary version: a coarse label, a fine one, and the pixels."""
    rng = np.random.default_rng(seed)
    out = rng.integers(256, size=(n, 3074), dtype=np.uint8)
    out[:, 0] %= 20
    out[:, 1] %= 100
    return out


BATCHES = {"train": records(0, 6), "test": records(1, 4)}


def content(version, name):
    batch = BATCHES[name]
    if version == "binary":
        return batch.tobytes()
    fields = {
        b"filenames": [b"a.png"] * len(batch),
        b"batch_label": b"a batch",
        b"fine_labels": batch[:, 1].tolist(),
        b"coarse_labels": batch[:, 0].tolist(),
        b"data": np.ascontiguousarray(batch[:, 2:]),
    }
    return pickle.dumps(fields, protocol=2)


def files(version):
    suffix = ".bin" if version == "binary" else ""
    return {f"{name}{suffix}": content(version, name) for name in BATCHES}


def archive(folder, version):
    path = folder / f"cifar-100-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, data_of_file in files(version).items():
            member = tarfile.TarInfo(f"cifar-100-{version}/{name}")
            member.size = len(data_of_file)
            tar.addfile(member, io.BytesIO(data_of_file))
    return path


def extracted(folder, version):
    folder = folder / f"cifar-100-{version}"
    folder.mkdir()
    for name, data_of_file in files(version).items():
        (folder / name).write_bytes(data_of_file)
    return folder


def assert_is_the_set(dataset, coarse):
    for images, labels, rows in (
        (dataset.train_images, dataset.train_labels, BATCHES["train"]),
        (dataset.test_images, dataset.test_labels, BATCHES["test"]),
    ):
        planes = rows[:, 2:].reshape(-1, 3, 32, 32)
        np.testing.assert_array_equal(images, planes.transpose(0, 2, 3, 1))
        np.testing.assert_array_equal(labels, rows[:, 0 if coarse else 1])
        assert images.dtype == np.uint8 and labels.dtype == np.int32


versions = pytest.mark.parametrize("version", ["binary", "python"])
both_labels = pytest.mark.parametrize("coarse", [False, True])


@versions
@both_labels
@pytest.mark.parametrize("make", [archive, extracted])
@pytest.mark.parametrize("by_name", [False, True])
def test_both_labels_load_from_both_versions(tmp_path, version, coarse, make, by_name):
    path = make(tmp_path, version)
    root = path if by_name else tmp_path
    assert_is_the_set(data.load_cifar100(root, coarse=coarse), coarse)


def test_the_labels_of_a_cache_are_those_that_were_asked_for(tmp_path):
    extracted(tmp_path, "binary")
    for coarse in (False, True, True, False):
        dataset = data.load_cifar100(tmp_path, coarse=coarse, cache=tmp_path / "cache")
        assert_is_the_set(dataset, coarse)


def test_a_cache_holds_both_kinds_of_labels(tmp_path):
    extracted(tmp_path, "binary")
    cache = tmp_path / "cache"
    data.load_cifar100(tmp_path, cache=cache)
    written = {path.name: path.stat().st_ino for path in cache.iterdir()}
    data.load_cifar100(tmp_path, coarse=True, cache=cache)
    assert {path.name: path.stat().st_ino for path in cache.iterdir()} == written


@versions
@pytest.mark.parametrize(("kind", "least"), [(0, 20), (1, 100)])
def test_a_label_out_of_range_is_named(tmp_path, version, kind, least, monkeypatch):
    monkeypatch.setitem(BATCHES, "test", BATCHES["test"].copy())
    BATCHES["test"][2, kind] = least
    extracted(tmp_path, version)
    message = rf"in \[0, {least}\), got {least} at index 2; .* not CIFAR-100"
    with pytest.raises(ValueError, match=message):
        data.load_cifar100(tmp_path)


def test_a_missing_batch_is_named(tmp_path):
    (extracted(tmp_path, "binary") / "test.bin").unlink()
    message = "load_cifar100: .* all batches of CIFAR-100, got none of the name test;"
    with pytest.raises(FileNotFoundError, match=message):
        data.load_cifar100(tmp_path)


def test_a_batch_of_cifar_10_is_refused(tmp_path):
    for name in BATCHES:
        (tmp_path / f"{name}.bin").write_bytes(bytes(3073))
    with pytest.raises(ValueError, match="records of 3074 bytes, got 3073"):
        data.load_cifar100(tmp_path)


def test_download_writes_the_archive_and_reads_it(tmp_path, monkeypatch):
    packed = archive(tmp_path, "binary").read_bytes()
    file = Download(
        "cifar-100-binary.tar.gz", len(packed), hashlib.sha256(packed).hexdigest()
    )
    monkeypatch.setattr(cifar100, "_ARCHIVE", file)
    monkeypatch.setattr(cifar100, "CIFAR100_MIRRORS", (tmp_path.as_uri() + "/",))
    assert_is_the_set(data.load_cifar100(tmp_path / "new", download=True), False)


def test_a_download_that_fails_says_what_to_do(tmp_path, monkeypatch):
    nowhere = (tmp_path / "no").as_uri() + "/"
    monkeypatch.setattr(cifar100, "CIFAR100_MIRRORS", (nowhere,))
    message = "load_cifar100: could not download .*; check the network, or put the file"
    with pytest.raises(OSError, match=message):
        data.load_cifar100(tmp_path, download=True)


def test_without_data_the_error_names_the_archives(tmp_path):
    message = r"CIFAR-100's batches or .* cifar-100-python\.tar\.gz, got .* has neither"
    with pytest.raises(FileNotFoundError, match=message):
        data.load_cifar100(tmp_path)


def test_the_mirror_is_encrypted():
    assert all(url.startswith("https://") for url in data.CIFAR100_MIRRORS)


def test_a_damaged_pixel_in_an_archive_is_an_error(tmp_path):
    path = archive(tmp_path, "binary")
    stored = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), 0))
    stored[len(stored) // 2] ^= 255  # of the pixels in `test.bin`
    path.write_bytes(stored)
    with pytest.raises(ValueError, match="CRC check failed"):
        data.load_cifar100(path)
