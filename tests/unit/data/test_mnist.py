"""`load_mnist`: what it reads, and what it says about files it cannot read."""

import gzip
import io
from pathlib import Path

import numpy as np
import pytest

from lucid_fn import data
from lucid_fn.data.idx import parse_idx

REAL = Path(__file__).parents[3] / "examples" / "data" / "mnist"
IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def pack(path: Path) -> None:
    """Replaces a file by its gzipped form."""
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def test_the_real_mnist_has_its_known_shapes_labels_and_mean():
    dataset = data.load_mnist(REAL)
    assert dataset.train_images.shape == (60_000, 28, 28, 1)
    assert dataset.test_images.shape == (10_000, 28, 28, 1)
    assert dataset.train_images.dtype == np.uint8
    assert dataset.train_labels.dtype == dataset.test_labels.dtype == np.int32
    assert dataset.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(dataset.test_labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009
    ]  # fmt: skip
    assert dataset.train_images.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    assert dataset.train_images.std() / 255 == pytest.approx(0.3081, abs=5e-5)


def test_gzipped_files_load_as_plain_ones(mnist_folder):
    plain = data.load_mnist(mnist_folder)
    pack(mnist_folder / IMAGES)
    pack(mnist_folder / TEST_LABELS)
    for a, b in zip(plain, data.load_mnist(mnist_folder), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_arrays_can_be_written_to(mnist_folder):
    for array in data.load_mnist(mnist_folder):
        array[0] = 0
        assert not array[0].any()


def test_the_default_folder_is_named_by_the_environment(mnist_folder, monkeypatch):
    monkeypatch.setenv("LUCID_FN_DATA", str(mnist_folder.parent))
    mnist_folder.rename(mnist_folder.parent / "mnist")
    assert len(data.load_mnist().train_labels) == 7


def test_without_the_environment_the_default_folder_is_in_the_cache(
    tmp_path, monkeypatch
):
    monkeypatch.delenv("LUCID_FN_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"\.cache/lucid_fn/mnist.* does not"):
        data.load_mnist()


def test_all_missing_files_are_listed(mnist_folder):
    (mnist_folder / IMAGES).unlink()
    (mnist_folder / TEST_LABELS).unlink()
    with pytest.raises(
        FileNotFoundError,
        match=f"got .* without {IMAGES}, {TEST_LABELS}; pass .* or download=True",
    ):
        data.load_mnist(mnist_folder)


def test_a_file_as_root_is_an_error(mnist_folder):
    with pytest.raises(FileNotFoundError, match=f"{IMAGES}, which is a file; pass"):
        data.load_mnist(mnist_folder / IMAGES)


def test_an_empty_file_is_an_error(mnist_folder):
    (mnist_folder / LABELS).write_bytes(b"")
    with pytest.raises(ValueError, match=f"{LABELS} must hold data, got an empty file"):
        data.load_mnist(mnist_folder)


def test_a_truncated_file_says_how_many_bytes_are_missing(mnist_folder):
    path = mnist_folder / IMAGES
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(
        ValueError, match=f"{IMAGES} must have 5504 bytes .* got 5404, 100 missing"
    ):
        data.load_mnist(mnist_folder)


def test_trailing_bytes_are_an_error(mnist_folder):
    path = mnist_folder / TEST_IMAGES
    path.write_bytes(path.read_bytes() + b"\0\0")
    with pytest.raises(ValueError, match=f"{TEST_IMAGES} must have .* 2 too many"):
        data.load_mnist(mnist_folder)


def test_a_cut_header_is_an_error(mnist_folder):
    path = mnist_folder / IMAGES
    path.write_bytes(path.read_bytes()[:9])
    with pytest.raises(ValueError, match=f"{IMAGES} must have a header of 16 bytes"):
        data.load_mnist(mnist_folder)


def test_a_file_of_another_kind_is_an_error(mnist_folder):
    (mnist_folder / IMAGES).write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(
        ValueError,
        match=f"{IMAGES} must begin with the magic number 00000803.*3c21444f",
    ):
        data.load_mnist(mnist_folder)


def test_swapped_files_are_recognised(mnist_folder):
    (mnist_folder / IMAGES).write_bytes((mnist_folder / LABELS).read_bytes())
    with pytest.raises(ValueError, match=r"00000801, an IDX file of 1 axes.* swapped"):
        data.load_mnist(mnist_folder)


def test_images_of_another_size_are_an_error(mnist_folder, to_idx):
    (mnist_folder / IMAGES).write_bytes(to_idx(np.zeros((7, 32, 32), np.uint8)))
    with pytest.raises(
        ValueError, match=r"shape \(N, 28, 28\), N positive, got \(7, 32, 32\)"
    ):
        data.load_mnist(mnist_folder)


def test_a_set_without_images_is_an_error(mnist_folder, to_idx):
    (mnist_folder / TEST_IMAGES).write_bytes(to_idx(np.zeros((0, 28, 28), np.uint8)))
    with pytest.raises(ValueError, match=r"N positive, got \(0, 28, 28\)"):
        data.load_mnist(mnist_folder)


def test_a_label_out_of_range_is_named_with_its_index(mnist_folder, to_idx):
    labels = np.array([0, 1, 2, 11, 4, 5, 6], np.uint8)
    (mnist_folder / LABELS).write_bytes(to_idx(labels))
    with pytest.raises(
        ValueError, match=rf"{LABELS} must hold labels in \[0, 10\), got 11 at index 3"
    ):
        data.load_mnist(mnist_folder)


def test_images_and_labels_must_be_equally_many(mnist_folder, to_idx):
    (mnist_folder / LABELS).write_bytes(to_idx(np.zeros(6, np.uint8)))
    with pytest.raises(ValueError, match="got 7 images and 6 labels"):
        data.load_mnist(mnist_folder)


def test_a_plain_file_named_gz_is_an_error(mnist_folder):
    path = mnist_folder / IMAGES
    path.rename(path.with_name(IMAGES + ".gz"))
    with pytest.raises(
        ValueError, match=rf"{IMAGES}.gz must be gzip data.*00 00 08 03.* to {IMAGES}"
    ):
        data.load_mnist(mnist_folder)


def test_a_gzipped_file_with_a_plain_name_is_an_error(mnist_folder):
    path = mnist_folder / IMAGES
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(ValueError, match=f"rename it to {IMAGES}.gz"):
        data.load_mnist(mnist_folder)


@pytest.mark.parametrize("damage", ["checksum", "cut", "body"])
def test_damaged_gzip_is_an_error(mnist_folder, damage):
    pack(mnist_folder / IMAGES)
    path = mnist_folder / f"{IMAGES}.gz"
    content = bytearray(path.read_bytes())
    if damage == "checksum":
        content[-8] ^= 1
    elif damage == "cut":
        del content[-50:]
    else:
        content[40] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{IMAGES}.gz must be whole gzip data"):
        data.load_mnist(mnist_folder)


def test_other_types_than_unsigned_bytes_are_an_error():
    floats = bytes((0, 0, 0x0D, 1, 0, 0, 0, 1)) + bytes(4)
    with pytest.raises(ValueError, match=r"00000801 .*, got 00000d01; it is not such"):
        parse_idx(io.BytesIO(floats), (None,), where="test")
