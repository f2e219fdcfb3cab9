"""CIFAR-10: small photographs of ten classes, 50,000 to train and 10,000 to test."""

import os

from lucid_fn.checks import check_bool
from lucid_fn.data.cifar import load_batches
from lucid_fn.data.cifar_files import Layout
from lucid_fn.data.dataset import Dataset
from lucid_fn.data.download import Download
from lucid_fn.data.files import data_folder

CIFAR10_MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
"""Where `load_cifar10` downloads from, in this order."""

_LAYOUT = Layout(
    caller="load_cifar10",
    title="CIFAR-10",
    train_batches=tuple(f"data_batch_{i}" for i in range(1, 6)),
    test_batch="test_batch",
    folders=("cifar-10-batches-bin", "cifar-10-batches-py"),
    archives=("cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"),
    labels={b"labels": 10},
    largest_file=64 << 20,
)
_ARCHIVE = Download(
    _LAYOUT.archives[0],
    170_052_171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)


def load_cifar10(
    root: str | os.PathLike[str] | None = None,
    *,
    download: bool = False,
    cache: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Load CIFAR-10 from its binary or its Python version, packed or not.

    The first of these that exists in `root` is read: batches (`data_batch_1` to
    `data_batch_5` and `test_batch`, each as `.bin`, `.bin.gz` or pickled) in `root`
    itself, in `cifar-10-batches-bin` or in `cifar-10-batches-py`; the archive
    `cifar-10-binary.tar.gz`; the archive `cifar-10-python.tar.gz`. Archives are not
    extracted, and code in pickles is not executed. A sample of the data set loads too:
    its training batches may be smaller and fewer, but none may be skipped.

    Args:
        root: the folder, or the path of an archive. By default
            `$LUCID_FN_DATA/cifar10` if that variable is set, else
            `~/.cache/lucid_fn/cifar10`.
        download: whether to fetch the binary archive (170 MB) into `root` if nothing
            is there, from the first of `CIFAR10_MIRRORS` that sends it with the right
            checksum.
        cache: a folder for the decoded arrays, as `.npy` files and a `metadata.json`.
            The first call writes it; later calls map it into memory, read-only, or
            rewrite it if it or the source has changed. By default nothing is written.

    Returns:
        Images uint8, `(50000, 32, 32, 3)` and `(10000, 32, 32, 3)`, red, green, blue;
        labels int32 in [0, 10), `(50000,)` and `(10000,)`.

    Raises:
        FileNotFoundError: if there is no data or a batch is missing.
        ValueError: if a file is damaged or not of CIFAR-10, or has a label outside
            [0, 10), or is a pickle of anything else than arrays.
        OSError: if a download fails, or the cache cannot be written.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009;
    https://www.cs.toronto.edu/~kriz/cifar.html.

    Example:
        >>> from lucid_fn import data
        >>> dataset = data.load_cifar10("examples/data/cifar10")  # a sample
        >>> dataset.train_images.shape, dataset.train_labels[:5].tolist()
        ((2000, 32, 32, 3), [6, 9, 9, 4, 1])
    """
    check_bool("load_cifar10", download=download)
    folder = data_folder(root, "cifar10", "load_cifar10")
    mirrors = CIFAR10_MIRRORS if download else ()
    return load_batches(_LAYOUT, folder, _ARCHIVE, mirrors, cache, labels=b"labels")
