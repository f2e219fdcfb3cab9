"""Kuzushiji-MNIST: handwritten Japanese characters, in the layout of MNIST."""

import os

from lucid_fn.checks import check_bool
from lucid_fn.data.dataset import Dataset
from lucid_fn.data.download import Download
from lucid_fn.data.files import data_folder
from lucid_fn.data.mnist import load_idx_files

KMNIST_MIRRORS = ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",)
"""Where `load_kmnist` downloads from, in this order."""

# In the order of the fields of `Dataset`.
_FILES = (
    Download(
        "train-images-idx3-ubyte.gz",
        18_165_135,
        "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
    ),
    Download(
        "train-labels-idx1-ubyte.gz",
        29_497,
        "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
    ),
    Download(
        "t10k-images-idx3-ubyte.gz",
        3_041_136,
        "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
    ),
    Download(
        "t10k-labels-idx1-ubyte.gz",
        5_120,
        "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
    ),
)


def load_kmnist(
    root: str | os.PathLike[str] | None = None, *, download: bool = False
) -> Dataset:
    """Load Kuzushiji-MNIST from its four IDX files, each plain or gzipped.

    The files have the names and the layout of MNIST's (see `load_mnist`). The classes
    are the characters o, ki, su, tsu, na, ha, ma, ya, re and wo.

    Args:
        root: the folder that holds the files. By default
            `$LUCID_FN_DATA/kmnist` if that variable is set, else
            `~/.cache/lucid_fn/kmnist`.
        download: whether to fetch files that are missing from `root` (21.2 MB), from
            the first of `KMNIST_MIRRORS` that sends them with the right checksum.

    Returns:
        Images uint8, `(60000, 28, 28, 1)` and `(10000, 28, 28, 1)`; labels int32 in
        [0, 10), `(60000,)` and `(10000,)`.

    Raises:
        FileNotFoundError: if files are missing; the message lists them all.
        ValueError: as `load_mnist`.
        OSError: if a download fails.

    Source: Clanuwat et al., 2018, https://arxiv.org/abs/1812.01718;
    http://codh.rois.ac.jp/kmnist.

    Example:
        >>> from lucid_fn import data
        >>> data.load_kmnist("no/such/folder")
        Traceback (most recent call last):
        FileNotFoundError: load_kmnist: root must be a folder with the four
        Kuzushiji-MNIST files, plain or .gz, got no/such/folder, which does not exist;
        pass the folder that has them, or download=True to fetch them
    """
    check_bool("load_kmnist", download=download)
    folder = data_folder(root, "kmnist", "load_kmnist")
    mirrors = KMNIST_MIRRORS if download else ()
    return load_idx_files("load_kmnist", "Kuzushiji-MNIST", folder, _FILES, mirrors)
