"""Fashion-MNIST: articles of clothing, in the layout of MNIST."""

import os

from lucid_fn.checks import check_bool
from lucid_fn.data.dataset import Dataset
from lucid_fn.data.download import Download
from lucid_fn.data.files import data_folder
from lucid_fn.data.mnist import load_idx_files

FASHION_MNIST_MIRRORS = (
    "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
)
"""Where `load_fashion_mnist` downloads from, in this order."""

# In the order of the fields of `Dataset`; the checksums are the authors' MD5 sums.
_FILES = (
    Download(
        "train-images-idx3-ubyte.gz", 26_421_880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"
    ),
    Download("train-labels-idx1-ubyte.gz", 29_515, "25c81989df183df01b3e8a0aad5dffbe"),
    Download(
        "t10k-images-idx3-ubyte.gz", 4_422_102, "bef4ecab320f06d8554ea6380940ec79"
    ),
    Download("t10k-labels-idx1-ubyte.gz", 5_148, "bb300cfdad3c16e7a12a480ee83cd310"),
)


def load_fashion_mnist(
    root: str | os.PathLike[str] | None = None, *, download: bool = False
) -> Dataset:
    """Load Fashion-MNIST from its four IDX files, each plain or gzipped.

    The files have the names and the layout of MNIST's (see `load_mnist`). The classes
    are t-shirt, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag and ankle
    boot.

    Args:
        root: the folder that holds the files. By default
            `$LUCID_FN_DATA/fashion_mnist` if that variable is set, else
            `~/.cache/lucid_fn/fashion_mnist`.
        download: whether to fetch files that are missing from `root` (30.9 MB), from
            the first of `FASHION_MNIST_MIRRORS` that sends them with the right
            checksum.

    Returns:
        Images uint8, `(60000, 28, 28, 1)` and `(10000, 28, 28, 1)`; labels int32 in
        [0, 10), `(60000,)` and `(10000,)`.

    Raises:
        FileNotFoundError: if files are missing; the message lists them all.
        ValueError: as `load_mnist`.
        OSError: if a download fails.

    Source: Xiao, Rasul & Vollgraf, 2017, https://arxiv.org/abs/1708.07747;
    https://github.com/zalandoresearch/fashion-mnist.

    Example:
        >>> from lucid_fn import data
        >>> data.load_fashion_mnist("no/such/folder")
        Traceback (most recent call last):
        FileNotFoundError: load_fashion_mnist: root must be a folder with the four
        Fashion-MNIST files, plain or .gz, got no/such/folder, which does not exist;
        pass the folder that has them, or download=True to fetch them
    """
    check_bool("load_fashion_mnist", download=download)
    folder = data_folder(root, "fashion_mnist", "load_fashion_mnist")
    mirrors = FASHION_MNIST_MIRRORS if download else ()
    return load_idx_files(
        "load_fashion_mnist", "Fashion-MNIST", folder, _FILES, mirrors
    )
