"""`load_emnist`: the splits, the orientation, and the archive."""

import gzip
import hashlib
import zipfile

import numpy as np
import pytest

from lucid_fn import data
from lucid_fn.data import emnist
from lucid_fn.data.download import Download

CLASSES = {
    "byclass": (0, 62),
    "bymerge": (0, 47),
    "balanced": (0, 47),
    "letters": (1, 27),
    "digits": (0, 10),
    "mnist": (0, 10),
}
IMAGES = np.random.default_rng(0).integers(256, size=(5, 28, 28), dtype=np.uint8)


@pytest.fixture
def to_files(to_idx):
    """The four files of a split, by name: the first labels, and the last two."""

    def files(split):
        first, last = CLASSES[split]
        labels = np.arange(first, first + 5, dtype=np.uint8)
        ends = np.array([first, last - 1], np.uint8)
        prefix = f"emnist-{split}"
        return {
            f"{prefix}-train-images-idx3-ubyte": to_idx(IMAGES),
            f"{prefix}-train-labels-idx1-ubyte": to_idx(labels),
            f"{prefix}-test-images-idx3-ubyte": to_idx(IMAGES[:2]),
            f"{prefix}-test-labels-idx1-ubyte": to_idx(ends),
        }

    return files


@pytest.fixture
def archive(tmp_path, to_files):
    """All splits, as the archive has them."""
    path = tmp_path / "gzip.zip"
    with zipfile.ZipFile(path, "w") as file:
        for split in CLASSES:
            for name, content in to_files(split).items():
                file.writestr(f"gzip/{name}.gz", gzip.compress(content))
    return path


def assert_is_the_set(dataset, split):
    first, last = CLASSES[split]
    np.testing.assert_array_equal(
        dataset.train_images[..., 0], IMAGES.transpose(0, 2, 1)
    )
    np.testing.assert_array_equal(dataset.test_images, dataset.train_images[:2])
    assert dataset.train_labels.tolist() == list(range(first, first + 5))
    assert dataset.test_labels.tolist() == [first, last - 1]
    assert dataset.train_images.dtype == np.uint8
    assert dataset.train_labels.dtype == np.int32


@pytest.mark.parametrize("split", CLASSES)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("below", ["", "gzip"])
def test_files_load_with_upright_images(tmp_path, to_files, split, packed, below):
    folder = tmp_path / below
    folder.mkdir(exist_ok=True)
    for name, content in to_files(split).items():
        path = folder / (name + ".gz" * packed)
        path.write_bytes(gzip.compress(content) if packed else content)
    assert_is_the_set(data.load_emnist(tmp_path, split=split), split)


@pytest.mark.parametrize("split", CLASSES)
@pytest.mark.parametrize("by_name", [False, True])
def test_the_archive_loads_by_folder_and_by_name(archive, split, by_name):
    root = archive if by_name else archive.parent
    assert_is_the_set(data.load_emnist(root, split=split), split)
    assert list(archive.parent.iterdir()) == [archive]  # nothing is extracted


def test_download_writes_the_archive_and_reads_it(archive, tmp_path, monkeypatch):
    content = archive.read_bytes()
    checksum = hashlib.sha256(content).hexdigest()
    file = Download("gzip.zip", len(content), checksum)
    monkeypatch.setattr(emnist, "_ARCHIVE", file)
    monkeypatch.setattr(emnist, "EMNIST_MIRRORS", (tmp_path.as_uri() + "/",))
    new = tmp_path / "new"
    assert_is_the_set(data.load_emnist(new, split="digits", download=True), "digits")
    monkeypatch.setattr(emnist, "EMNIST_MIRRORS", ())  # nothing is left to fetch
    assert_is_the_set(data.load_emnist(new, split="mnist", download=True), "mnist")


def test_a_download_that_fails_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(emnist, "EMNIST_MIRRORS", ((tmp_path / "no").as_uri() + "/",))
    message = "(?s)load_emnist: could not download gzip.zip; check the network, or put"
    with pytest.raises(OSError, match=message):
        data.load_emnist(tmp_path, split="letters", download=True)
    assert list(tmp_path.iterdir()) == []


def test_the_mirrors_are_encrypted():
    assert all(url.startswith("https://") for url in data.EMNIST_MIRRORS)


@pytest.mark.parametrize("split", CLASSES)
def test_a_label_out_of_range_is_named_with_its_index(tmp_path, to_files, split):
    first, last = CLASSES[split]
    files = to_files(split)
    name = f"emnist-{split}-train-labels-idx1-ubyte"
    files[name] = files[name][:-1] + bytes([last])
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    message = rf"{name} must hold labels in \[{first}, {last}\), got {last} at index 4"
    with pytest.raises(ValueError, match=message):
        data.load_emnist(tmp_path, split=split)


def test_no_letter_has_the_label_0(tmp_path, to_files):
    files = to_files("letters")
    name = "emnist-letters-test-labels-idx1-ubyte"
    files[name] = files[name][:-1] + b"\0"
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=r"labels in \[1, 27\), got 0 at index 1"):
        data.load_emnist(tmp_path, split="letters")


@pytest.mark.parametrize("split", ["all", ["letters"]])
def test_another_split_is_an_error(tmp_path, split):
    with pytest.raises(ValueError, match=r"split must be one of byclass, .*got .*'"):
        data.load_emnist(tmp_path, split=split)


def test_missing_files_are_an_error(tmp_path, monkeypatch):
    message = "gzip.zip or the four files emnist-digits-.*, got .* has neither; pass"
    with pytest.raises(FileNotFoundError, match=message):
        data.load_emnist(tmp_path, split="digits")
    monkeypatch.setenv("LUCID_FN_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/emnist, which does not"):
        data.load_emnist(split="digits")


@pytest.mark.parametrize("name", ["letters.tar", "letters"])
def test_a_file_that_is_no_archive_is_an_error_by_its_name(tmp_path, name):
    (tmp_path / name).write_text("not an archive")
    message = rf"load_emnist: {tmp_path / name} must be a whole zip .* not a zip file"
    with pytest.raises(ValueError, match=message):
        data.load_emnist(tmp_path / name, split="letters")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[: len(content) // 2], "whole zip archive with gzip/"),
        (lambda content: b"<!DOCTYPE html>" * 1000, "damaged or different file"),
        (lambda content: content.replace(b"train", b"trial"), "no item named"),
        (lambda content: content[:900] + bytes(99) + content[999:], "gzip.zip"),
    ],
)
def test_a_damaged_archive_is_an_error(archive, change, message):
    archive.write_bytes(change(archive.read_bytes()))
    with pytest.raises(ValueError, match=f"load_emnist: .*{message}"):
        data.load_emnist(archive.parent, split="byclass")
