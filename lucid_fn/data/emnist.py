"""EMNIST: handwritten digits and letters, in the layout of MNIST."""

import os
from pathlib import Path
from typing import Literal

import numpy as np

from lucid_fn.checks import check_bool
from lucid_fn.data.dataset import Dataset
from lucid_fn.data.download import Download, fetch
from lucid_fn.data.files import data_folder
from lucid_fn.data.mnist import find_idx, load_split

EMNIST_MIRRORS = (
    "https://biometrics.nist.gov/cs_links/EMNIST/",
    "https://www.itl.nist.gov/iaui/vip/cs_links/EMNIST/",
)
"""Where `load_emnist` downloads from, in this order."""

_ARCHIVE = Download(
    "gzip.zip",
    561_753_746,
    "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e",
)
_CLASSES = {
    "byclass": range(62),
    "bymerge": range(47),
    "balanced": range(47),
    "letters": range(1, 27),
    "digits": range(10),
    "mnist": range(10),
}
_PARTS = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "test-images-idx3-ubyte",
    "test-labels-idx1-ubyte",
)  # in the order of the fields of `Dataset`


def load_emnist(
    root: str | os.PathLike[str] | None = None,
    *,
    split: Literal["byclass", "bymerge", "balanced", "letters", "digits", "mnist"],
    download: bool = False,
) -> Dataset:
    """Load EMNIST from its IDX files, each plain or gzipped, or from their archive.

    The first of these that exists in `root` is read: the four files of a split, such as
    `emnist-letters-train-images-idx3-ubyte`, with or without `.gz`, in `root` itself or
    in `gzip`; the archive `gzip.zip`, which is not extracted.

    The files hold transposed images. Here they are upright, like MNIST's, whereas
    `torchvision.datasets.EMNIST` returns them transposed.

    Args:
        root: the folder, or the path of the archive. By default
            `$LUCID_FN_DATA/emnist` if that variable is set, else
            `~/.cache/lucid_fn/emnist`.
        split: `"byclass"`: 814,255 images of digits, capital and small letters, 62
            classes; `"bymerge"`: the same images, with one class for a capital and a
            small letter that look alike, 47 classes; `"balanced"`: 131,600 of these
            images, equally many of each class; `"letters"`: 145,600 images of the 26
            letters, labels 1 to 26; `"digits"`: 280,000 images; `"mnist"`: 70,000
            images of digits.
        download: whether to fetch the archive (562 MB) into `root` if nothing is there,
            from the first of `EMNIST_MIRRORS` that sends it with the right checksum
            (that of TensorFlow Datasets).

    Returns:
        Images uint8, `(N, 28, 28, 1)`, and labels int32, `(N,)`, to train and to test.

    Raises:
        FileNotFoundError: if files are missing.
        ValueError: if `split` is none of those above, or a file is invalid, as in
            `load_mnist`.
        OSError: if a download fails.

    Source: Cohen, Afshar, Tapson & van Schaik, 2017, https://arxiv.org/abs/1702.05373;
    https://www.nist.gov/itl/products-and-services/emnist-dataset.

    Example:
        >>> from lucid_fn import data
        >>> data.load_emnist("no/such/folder", split="letters")
        Traceback (most recent call last):
        FileNotFoundError: load_emnist: root must be a folder with gzip.zip or the four
        files emnist-letters-..., plain or .gz, got no/such/folder, which does not
        exist; pass the folder that has them, or download=True to fetch them
    """
    caller = "load_emnist"
    check_bool(caller, download=download)
    if split not in tuple(_CLASSES):
        raise ValueError(
            f"{caller}: split must be one of {', '.join(_CLASSES)}, got {split!r}"
        )
    folder = data_folder(root, "emnist", caller)
    paths = _find(folder, split)
    if paths is None and download:
        fetch(_ARCHIVE, EMNIST_MIRRORS, folder, caller)
        paths = _find(folder, split)
    if paths is None:
        state = "has neither" if folder.exists() else "does not exist"
        raise FileNotFoundError(
            f"{caller}: root must be a folder with {_ARCHIVE.name} or the four files "
            f"emnist-{split}-..., plain or .gz, got {folder}, which {state}; pass the "
            "folder that has them, or download=True to fetch them"
        )
    classes = _CLASSES[split]
    train = load_split(caller, "EMNIST", *paths[:2], classes=classes)
    test = load_split(caller, "EMNIST", *paths[2:], classes=classes)
    return Dataset(_upright(train[0]), train[1], _upright(test[0]), test[1])


def _find(folder: Path, split: str) -> list[Path] | None:
    """The files of a split, in the order of the fields of `Dataset`."""
    names = [f"emnist-{split}-{part}.gz" for part in _PARTS]
    for place in (folder, folder / "gzip"):
        found = [path for name in names if (path := find_idx(place, name))]
        if len(found) == len(names):
            return found
    archive = folder if folder.is_file() else folder / _ARCHIVE.name
    return [archive / "gzip" / name for name in names] if archive.is_file() else None


def _upright(images: np.ndarray) -> np.ndarray:
    """Transpose images `(N, W, H, 1)` to `(N, H, W, 1)`."""
    return np.ascontiguousarray(images.swapaxes(1, 2))
