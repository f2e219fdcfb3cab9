"""CIFAR-100: small photographs of a hundred kinds, 50,000 to train, 10,000 to test."""

import os

from lucid_fn.checks import check_bool
from lucid_fn.data.cifar import load_batches
from lucid_fn.data.cifar_files import Layout
from lucid_fn.data.dataset import Dataset
from lucid_fn.data.download import Download
from lucid_fn.data.files import data_folder

CIFAR100_MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
"""Where `load_cifar100` downloads from, in this order."""

_LAYOUT = Layout(
    caller="load_cifar100",
    title="CIFAR-100",
    train_batches=("train",),
    test_batch="test",
    folders=("cifar-100-binary", "cifar-100-python"),
    archives=("cifar-100-binary.tar.gz", "cifar-100-python.tar.gz"),
    labels={b"coarse_labels": 20, b"fine_labels": 100},
    largest_file=320 << 20,
)
_ARCHIVE = Download(
    _LAYOUT.archives[0],
    168_513_733,
    "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
)


def load_cifar100(
    root: str | os.PathLike[str] | None = None,
    *,
    coarse: bool = False,
    download: bool = False,
    cache: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Load CIFAR-100 from its binary or its Python version, packed or not.

    The first of these that exists in `root` is read: batches (`train` and `test`, each
    as `.bin`, `.bin.gz` or pickled) in `root` itself, in `cifar-100-binary` or in
    `cifar-100-python`; the archive `cifar-100-binary.tar.gz`; the archive
    `cifar-100-python.tar.gz`. They are read as in `load_cifar10`, and may hold fewer
    images.

    Args:
        root: the folder, or the path of an archive. By default
            `$LUCID_FN_DATA/cifar100` if that variable is set, else
            `~/.cache/lucid_fn/cifar100`.
        coarse: whether the labels are the 20 superclasses, such as "fish", instead of
            the 100 classes, such as "trout".
        download: whether to fetch the binary archive (169 MB) into `root` if nothing
            is there, from the first of `CIFAR100_MIRRORS` that sends it with the right
            checksum (that of TensorFlow Datasets).
        cache: as in `load_cifar10`; it holds both kinds of labels.

    Returns:
        Images uint8, `(50000, 32, 32, 3)` and `(10000, 32, 32, 3)`, red, green, blue;
        labels int32 in [0, 100), or in [0, 20), `(50000,)` and `(10000,)`.

    Raises:
        FileNotFoundError: if there is no data or a batch is missing.
        ValueError: as `load_cifar10`.
        OSError: if a download fails, or the cache cannot be written.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009;
    https://www.cs.toronto.edu/~kriz/cifar.html.

    Example:
        >>> from lucid_fn import data
        >>> data.load_cifar100("no/such/folder")
        Traceback (most recent call last):
        FileNotFoundError: load_cifar100: root must be a folder with CIFAR-100's batches
        or one of its archives, cifar-100-binary.tar.gz or cifar-100-python.tar.gz, got
        no/such/folder, which does not exist; pass the folder that has them, or
        download=True to fetch them
    """
    check_bool("load_cifar100", coarse=coarse, download=download)
    folder = data_folder(root, "cifar100", "load_cifar100")
    mirrors = CIFAR100_MIRRORS if download else ()
    kind = b"coarse_labels" if coarse else b"fine_labels"
    return load_batches(_LAYOUT, folder, _ARCHIVE, mirrors, cache, labels=kind)
