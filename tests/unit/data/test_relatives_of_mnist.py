"""`load_fashion_mnist` and `load_kmnist`: MNIST's layout under names of their own."""

import gzip
import io
from typing import NamedTuple

import numpy as np
import pytest

from lucid_fn import data

LABELS = "t10k-labels-idx1-ubyte"


class Relative(NamedTuple):
    name: str  # that of the default folder, and of the function behind `load_`
    title: str
    mirrors: tuple[str, ...]
    size: int  # of the packed test labels, in bytes
    checksum: str  # how theirs begins

    def load(self, *args, **options):
        return getattr(data, f"load_{self.name}")(*args, **options)


FASHION_MNIST = Relative(
    *("fashion_mnist", "Fashion-MNIST", data.FASHION_MNIST_MIRRORS),
    *(5148, "md5 .*, not bb300cfdad3c16e7a12a480ee83cd310"),
)
KMNIST = Relative(
    *("kmnist", "Kuzushiji-MNIST", data.KMNIST_MIRRORS),
    *(5120, "sha256 .*, not 20bb9a0ef54c7db3"),
)
relatives = pytest.mark.parametrize(
    "relative", [FASHION_MNIST, KMNIST], ids=lambda r: r.name
)


@relatives
def test_it_reads_the_layout_of_mnist(relative, mnist_folder):
    both = relative.load(mnist_folder), data.load_mnist(mnist_folder)
    for ours, mnist in zip(*both, strict=True):
        np.testing.assert_array_equal(ours, mnist)


@relatives
def test_the_default_folder_is_not_that_of_mnist(relative, mnist_folder, monkeypatch):
    monkeypatch.setenv("LUCID_FN_DATA", str(mnist_folder.parent))
    mnist_folder.rename(mnist_folder.parent / relative.name)
    assert len(relative.load().train_labels) == 7


@relatives
def test_errors_bear_its_name(relative, mnist_folder, to_idx):
    (mnist_folder / LABELS).write_bytes(to_idx(np.full(3, 10, np.uint8)))
    caller, title = f"^load_{relative.name}", relative.title
    with pytest.raises(ValueError, match=f"{caller}: .* damaged or not {title}"):
        relative.load(mnist_folder)
    (mnist_folder / LABELS).unlink()
    message = f"{caller}: root must .* four {title} .*without {LABELS}"
    with pytest.raises(FileNotFoundError, match=message):
        relative.load(mnist_folder)


@relatives
def test_a_file_that_is_not_the_authors_is_not_kept(
    relative, mnist_folder, monkeypatch
):
    """The size is right, the checksum is not."""
    (mnist_folder / LABELS).unlink()
    asked = []

    def urlopen(url, timeout):
        asked.append(url)
        return io.BytesIO(gzip.compress(b"other").ljust(relative.size, b"0"))

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    message = f"(?s)sent a file with {relative.checksum}"
    with pytest.raises(OSError, match=message):
        relative.load(mnist_folder, download=True)
    assert asked == [f"{url}{LABELS}.gz" for url in relative.mirrors]
    assert not (mnist_folder / f"{LABELS}.gz").exists()
