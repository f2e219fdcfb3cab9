"""`load_cifar10`: the versions it reads, and what it says about bad ones."""

import functools
import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from lucid_fn import data
from lucid_fn.data import cifar, cifar10
from lucid_fn.data.download import Download

REAL = Path(__file__).parents[3] / "examples" / "data" / "cifar10"
TRAIN = [f"data_batch_{i}" for i in range(1, 6)]


def records(seed: int, n: int = 4) -> np.ndarray:
    """A batch of the binary version."""
    rng = np.random.default_rng(seed)
    out = rng.integers(256, size=(n, 3073), dtype=np.uint8)
    out[:, 0] %= 10
    return out


BATCHES = {name: records(i) for i, name in enumerate([*TRAIN, "test_batch"])}


class Python2Pickler(pickle._Pickler):
    """Writes what Python 2 wrote: byte strings, and the old name of NumPy's core."""

    def save_bytes(self, obj):
        self.write(b"T" + struct.pack("<i", len(obj)) + obj)
        self.memoize(obj)

    def save_global(self, obj, name=None):
        module = obj.__module__.replace("numpy._core", "numpy.core")
        self.write(b"c" + f"{module}\n{name or obj.__name__}\n".encode())
        self.memoize(obj)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, bytes: save_bytes}


def pickled(batch: np.ndarray, pickler=Python2Pickler) -> bytes:
    """A batch of the Python version."""
    content = {
        b"batch_label": b"a batch",
        b"labels": batch[:, 0].tolist(),
        b"data": np.ascontiguousarray(batch[:, 1:]),
        b"filenames": [b"a.png"] * len(batch),
    }
    file = io.BytesIO()
    pickler(file, protocol=2).dump(content)
    return file.getvalue()


def binary_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, batch in BATCHES.items():
        (folder / f"{name}.bin").write_bytes(batch.tobytes())
    return folder


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small CIFAR-10: the binary version, extracted."""
    return binary_folder(tmp_path / "cifar-10-batches-bin")


@pytest.fixture
def python_folder(tmp_path: Path) -> Path:
    """The same set: the Python version, extracted."""
    folder = tmp_path / "python" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name, batch in BATCHES.items():
        (folder / name).write_bytes(pickled(batch))
    return folder


def assert_is_the_set(dataset: data.Dataset) -> None:
    train = np.concatenate([BATCHES[name] for name in TRAIN])
    for images, labels, rows in (
        (dataset.train_images, dataset.train_labels, train),
        (dataset.test_images, dataset.test_labels, BATCHES["test_batch"]),
    ):
        planes = rows[:, 1:].reshape(-1, 3, 32, 32)
        np.testing.assert_array_equal(images, planes.transpose(0, 2, 3, 1))
        np.testing.assert_array_equal(labels, rows[:, 0])
        assert images.dtype == np.uint8 and labels.dtype == np.int32


def test_the_sample_of_the_examples_is_real():
    dataset = data.load_cifar10(REAL)
    assert dataset.train_images.shape == (2000, 32, 32, 3)
    assert dataset.test_images.shape == (500, 32, 32, 3)
    assert dataset.test_labels[:8].tolist() == [3, 8, 8, 0, 6, 6, 1, 6]
    np.testing.assert_allclose(
        dataset.train_images.mean((0, 1, 2)) / 255, data.CIFAR10_MEAN, atol=5e-3
    )


@pytest.mark.parametrize("up", [False, True])
def test_the_binary_folder_loads_from_itself_and_from_above(folder, up):
    assert_is_the_set(data.load_cifar10(folder.parent if up else folder))


@pytest.mark.parametrize("up", [False, True])
def test_the_python_folder_loads_from_itself_and_from_above(python_folder, up):
    assert_is_the_set(data.load_cifar10(python_folder.parent if up else python_folder))


def test_gzipped_binary_batches_load(folder):
    for path in list(folder.iterdir()):
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert_is_the_set(data.load_cifar10(folder))


@pytest.mark.parametrize("by_name", [False, True])
@pytest.mark.parametrize("version", ["binary", "python"])
def test_archives_load_by_folder_and_by_name(tmp_path, version, by_name):
    if version == "binary":
        files = {f"{name}.bin": batch.tobytes() for name, batch in BATCHES.items()}
    else:
        files = {name: pickled(batch) for name, batch in BATCHES.items()}
    top = "cifar-10-batches-bin" if version == "binary" else "cifar-10-batches-py"
    members = {f"{top}/readme.html": b"<html>"}
    members |= {f"{top}/{name}": content for name, content in files.items()}
    path = archive(tmp_path / f"cifar-10-{version}.tar.gz", members)
    assert_is_the_set(data.load_cifar10(path if by_name else tmp_path))
    assert list(tmp_path.iterdir()) == [path]  # nothing is extracted


def test_pickles_that_python_3_wrote_load(python_folder):
    for name, batch in BATCHES.items():
        (python_folder / name).write_bytes(pickled(batch, pickle.Pickler))
    assert_is_the_set(data.load_cifar10(python_folder))


def test_fortran_order_is_honoured(python_folder):
    batch = BATCHES["test_batch"]
    content = {
        b"labels": batch[:, 0].tolist(),
        b"data": np.asfortranarray(batch[:, 1:]),
    }
    (python_folder / "test_batch").write_bytes(pickle.dumps(content, protocol=2))
    assert_is_the_set(data.load_cifar10(python_folder))


def test_a_sample_needs_its_first_batches_only(folder):
    for name in TRAIN[2:]:
        (folder / f"{name}.bin").unlink()
    assert len(data.load_cifar10(folder).train_labels) == 8


def test_a_gap_is_an_error_that_lists_what_is_missing(folder):
    for name in ("data_batch_2", "data_batch_4", "test_batch"):
        (folder / f"{name}.bin").unlink()
    with pytest.raises(
        FileNotFoundError, match="the name data_batch_2, data_batch_4, test_batch; comp"
    ):
        data.load_cifar10(folder)


def test_a_full_batch_needs_all_five(folder, monkeypatch):
    monkeypatch.setattr(cifar, "_FULL_BATCH", 4)
    (folder / "data_batch_5.bin").unlink()
    with pytest.raises(FileNotFoundError, match="the name data_batch_5; complete"):
        data.load_cifar10(folder)


def test_a_folder_without_data_is_an_error(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"cifar-10-python\.tar\.gz, got .* has neither; pass"
    ):
        data.load_cifar10(tmp_path)


def test_no_folder_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("LUCID_FN_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/cifar10, which does not"):
        data.load_cifar10()


def test_a_cut_batch_is_an_error(folder):
    path = folder / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-73])
    with pytest.raises(
        ValueError, match=r"data_batch_3\.bin must hold records of 3073 .* 3000 of them"
    ):
        data.load_cifar10(folder)


def test_an_empty_batch_is_an_error(folder):
    (folder / "data_batch_3.bin").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"data_batch_3\.bin must hold data, got an em"
    ):
        data.load_cifar10(folder)


@pytest.mark.parametrize("version", ["bin", "py"])
def test_a_label_out_of_range_is_named_with_its_index(folder, python_folder, version):
    batch = records(0)
    batch[2, 0] = 10
    if version == "bin":
        (folder / "test_batch.bin").write_bytes(batch.tobytes())
    else:
        folder = python_folder
        (folder / "test_batch").write_bytes(pickled(batch))
    with pytest.raises(
        ValueError,
        match=r"test_batch.* must hold labels in \[0, 10\), got 10 at index 2",
    ):
        data.load_cifar10(folder)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_malicious_pickle_runs_nothing_and_is_named(python_folder, tmp_path):
    target = tmp_path / "made by the pickle"
    (python_folder / "data_batch_1").write_bytes(
        pickle.dumps({b"labels": [0], b"data": Malicious(target)}, protocol=2)
    )
    with pytest.raises(
        ValueError,
        match=r"data_batch_1 .* got the forbidden global posix\.mkdir, which",
    ):
        data.load_cifar10(python_folder)
    assert not target.exists()


@pytest.mark.parametrize("name", ["eval", "getattr", "__import__"])
def test_builtin_functions_are_forbidden_too(python_folder, name):
    content = f"c__builtin__\n{name}\n.".encode()
    (python_folder / "test_batch").write_bytes(content)
    with pytest.raises(ValueError, match=f"forbidden global __builtin__.{name}"):
        data.load_cifar10(python_folder)


def test_a_pickle_cannot_ask_for_more_memory_than_it_has_bytes(python_folder):
    object_number = b"\x80\x02]r\xff\xff\xff\xff."
    (python_folder / "test_batch").write_bytes(object_number)
    with pytest.raises(ValueError, match="got a list without these"):
        data.load_cifar10(python_folder)
    long_bytearray = b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"."
    (python_folder / "test_batch").write_bytes(long_bytearray)
    with pytest.raises(ValueError, match="got a bytearray that was cut short"):
        data.load_cifar10(python_folder)


ZEROS = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "got a list without these; replace it"),
        ({b"data": ZEROS}, "got a dict without these"),
        ({b"data": ZEROS, b"labels": [0]}, r"data of shape \(2, 3072\) and 1 labels"),
        ({b"data": ZEROS, b"labels": [0, 1.5]}, "labels that are not integers"),
        ({b"data": ZEROS[:, 1:], b"labels": [0, 1]}, r"data of shape \(2, 3071\)"),
        ({b"data": ZEROS * 1.0, b"labels": [0, 1]}, "other things than unsigned bytes"),
    ],
)
def test_pickles_of_something_else_are_an_error(python_folder, content, message):
    (python_folder / "test_batch").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ValueError, match=message):
        data.load_cifar10(python_folder)


def test_a_pickle_without_images_is_an_error(python_folder):
    (python_folder / "test_batch").write_bytes(pickled(records(0, n=0)))
    with pytest.raises(ValueError, match="test_batch must hold images, got none"):
        data.load_cifar10(python_folder)


def test_a_cut_pickle_is_an_error(python_folder):
    path = python_folder / "test_batch"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(
        ValueError, match=r"test_batch must be .* got a damaged pickle \("
    ):
        data.load_cifar10(python_folder)


@functools.cache
def archived() -> dict[str, bytes]:
    top = "cifar-10-batches-bin"
    return {f"{top}/{name}.bin": batch.tobytes() for name, batch in BATCHES.items()}


@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_a_cut_archive_is_an_error(tmp_path, keep):
    path = archive(tmp_path / "cifar-10-binary.tar.gz", archived())
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(
        ValueError, match=r"binary\.tar\.gz must be .* a whole \.tar\.gz"
    ):
        data.load_cifar10(tmp_path)


@pytest.mark.parametrize("name", ["root", "cache"])
def test_paths_must_be_paths(folder, name):
    arguments = {"root": folder, name: True}
    with pytest.raises(TypeError, match=f"{name} must be a path, got True"):
        data.load_cifar10(**arguments)


def test_a_file_that_is_no_archive_is_an_error(tmp_path):
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(b"<!DOCTYPE html>" * 1000)
    with pytest.raises(ValueError, match=r"archive, got .* kind \(Not a gzipped file"):
        data.load_cifar10(path)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_an_archive_are_an_error(tmp_path, kind):
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        member.type, member.linkname = kind, "/etc/passwd"
        tar.addfile(member)
    with pytest.raises(ValueError, match=r"test_batch\.bin as a file .* got a link or"):
        data.load_cifar10(tmp_path)


def test_files_outside_of_the_folder_are_not_read(tmp_path):
    members = {f"../{name}": content for name, content in archived().items()}
    archive(tmp_path / "cifar-10-binary.tar.gz", members)
    with pytest.raises(FileNotFoundError, match="data_batch_1, test_batch"):
        data.load_cifar10(tmp_path)


def test_a_batch_that_comes_twice_is_an_error(tmp_path):
    members = archived() | {"cifar-10-batches-py/test_batch": pickled(records(9))}
    archive(tmp_path / "cifar-10-binary.tar.gz", members)
    with pytest.raises(ValueError, match="holds test_batch twice"):
        data.load_cifar10(tmp_path)


def test_an_oversized_member_is_not_read(tmp_path):
    members = archived() | {
        "cifar-10-batches-bin/test_batch.bin": bytes((64 << 20) + 1)
    }
    archive(tmp_path / "cifar-10-binary.tar.gz", members)
    with pytest.raises(ValueError, match="at most 67108864 bytes, got 67108865 bytes"):
        data.load_cifar10(tmp_path)


def test_download_writes_the_archive_and_reads_it(tmp_path, monkeypatch):
    served = tmp_path / "served"
    served.mkdir()
    content = archive(served / "cifar-10-binary.tar.gz", archived()).read_bytes()
    file = Download(
        "cifar-10-binary.tar.gz", len(content), hashlib.sha256(content).hexdigest()
    )
    monkeypatch.setattr(cifar10, "_ARCHIVE", file)
    monkeypatch.setattr(cifar10, "CIFAR10_MIRRORS", (served.as_uri() + "/",))
    assert_is_the_set(data.load_cifar10(tmp_path / "new", download=True))
    monkeypatch.setattr(cifar10, "CIFAR10_MIRRORS", ())  # nothing is left to fetch
    assert_is_the_set(data.load_cifar10(tmp_path / "new", download=True))


def test_the_mirror_is_encrypted():
    assert all(url.startswith("https://") for url in data.CIFAR10_MIRRORS)
