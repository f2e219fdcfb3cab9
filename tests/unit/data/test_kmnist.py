"""`load_kmnist`: MNIST's layout under a name of its own."""

import gzip
import io

import numpy as np
import pytest

from lucid_fn import data

LABELS = "t10k-labels-idx1-ubyte"


def test_it_reads_the_layout_of_mnist(mnist_folder):
    for ours, mnist in zip(
        data.load_kmnist(mnist_folder),
        data.load_mnist(mnist_folder),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, mnist)


def test_the_default_folder_is_not_that_of_mnist(mnist_folder, monkeypatch):
    monkeypatch.setenv("LUCID_FN_DATA", str(mnist_folder.parent))
    mnist_folder.rename(mnist_folder.parent / "kmnist")
    assert len(data.load_kmnist().train_labels) == 7


def test_errors_bear_its_name(mnist_folder, to_idx):
    (mnist_folder / LABELS).write_bytes(to_idx(np.full(3, 10, np.uint8)))
    message = "^load_kmnist: .* damaged or not Kuzushiji-MNIST"
    with pytest.raises(ValueError, match=message):
        data.load_kmnist(mnist_folder)
    (mnist_folder / LABELS).unlink()
    message = f"^load_kmnist: root must .* four Kuzushiji-MNIST .*without {LABELS}"
    with pytest.raises(FileNotFoundError, match=message):
        data.load_kmnist(mnist_folder)


def test_a_file_that_is_not_the_authors_is_not_kept(mnist_folder, monkeypatch):
    """The size is right, the checksum is not."""
    (mnist_folder / LABELS).unlink()
    asked = []

    def urlopen(url, timeout):
        asked.append(url)
        return io.BytesIO(gzip.compress(b"other").ljust(5120, b"0"))

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    message = "(?s)sent a file with sha256 .*, not 20bb9a0ef54c7db3"
    with pytest.raises(OSError, match=message):
        data.load_kmnist(mnist_folder, download=True)
    assert asked == [f"{url}{LABELS}.gz" for url in data.KMNIST_MIRRORS]
    assert not (mnist_folder / f"{LABELS}.gz").exists()
