"""MNIST: handwritten digits, 60,000 to train and 10,000 to test."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lucid_fn.checks import check_bool
from lucid_fn.data.dataset import Dataset
from lucid_fn.data.download import Download, fetch
from lucid_fn.data.files import data_folder
from lucid_fn.data.idx import read_idx

MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
"""Where `load_mnist` downloads from, in this order."""

# In the order of the fields of `Dataset`.
_FILES = (
    Download(
        "train-images-idx3-ubyte.gz",
        9_912_422,
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    ),
    Download(
        "train-labels-idx1-ubyte.gz",
        28_881,
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    ),
    Download(
        "t10k-images-idx3-ubyte.gz",
        1_648_877,
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    ),
    Download(
        "t10k-labels-idx1-ubyte.gz",
        4_542,
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    ),
)


def load_mnist(
    root: str | os.PathLike[str] | None = None, *, download: bool = False
) -> Dataset:
    """Load MNIST from its four IDX files, each plain or gzipped.

    The files are `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`,
    `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, with or without `.gz`; if
    both exist, the plain one is read. Other data sets in MNIST's format, such as a
    subset of MNIST, load as well: the number of images is not fixed.

    Args:
        root: the folder that holds the files. By default `$LUCID_FN_DATA/mnist` if
            that variable is set, else `~/.cache/lucid_fn/mnist`.
        download: whether to fetch files that are missing from `root` (11.6 MB), from
            the first of `MNIST_MIRRORS` that sends them with the right checksum.

    Returns:
        Images uint8, `(60000, 28, 28, 1)` and `(10000, 28, 28, 1)`; labels int32 in
        [0, 10), `(60000,)` and `(10000,)`.

    Raises:
        FileNotFoundError: if files are missing; the message lists them all.
        ValueError: if a file is damaged or in another format, if the numbers of images
            and labels differ, or if a label is not in [0, 10).
        OSError: if a download fails.

    Source: LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to
    document recognition", 1998; http://yann.lecun.com/exdb/mnist/.

    Example:
        >>> from lucid_fn import data
        >>> dataset = data.load_mnist("examples/data/mnist")
        >>> dataset.train_images.shape, dataset.train_labels[:5].tolist()
        ((60000, 28, 28, 1), [5, 0, 4, 1, 9])
    """
    check_bool("load_mnist", download=download)
    folder = data_folder(root, "mnist", "load_mnist")
    mirrors = MNIST_MIRRORS if download else ()
    return load_idx_files("load_mnist", "MNIST", folder, _FILES, mirrors)


def load_idx_files(
    caller: str,
    title: str,
    folder: Path,
    files: tuple[Download, ...],
    mirrors: tuple[str, ...],
) -> Dataset:
    """Load a data set in MNIST's format.

    Args:
        caller: the name that errors begin with.
        title: the data set's name in errors.
        folder: the folder of the files, each plain or gzipped.
        files: in the order of the fields of `Dataset`.
        mirrors: where to fetch missing files from; empty for no download.
    """
    found = {file.name: find_idx(folder, file.name) for file in files}
    for file in files if mirrors else ():
        if found[file.name] is None:
            found[file.name] = fetch(file, mirrors, folder, caller)
    paths = [path for path in found.values() if path is not None]
    if len(paths) < len(files):
        raise FileNotFoundError(_missing(caller, title, folder, found))
    return Dataset(
        *load_split(caller, title, *paths[:2]), *load_split(caller, title, *paths[2:])
    )


def find_idx(folder: Path, name: str) -> Path | None:
    """The plain file of this name if it exists, else the gzipped one."""
    candidates = (folder / name.removesuffix(".gz"), folder / name)
    return next((path for path in candidates if path.is_file()), None)


def _missing(
    caller: str, title: str, folder: Path, found: dict[str, Path | None]
) -> str:
    names = [name.removesuffix(".gz") for name, path in found.items() if path is None]
    if not folder.is_dir():
        state = "is a file" if folder.exists() else "does not exist"
        got = f"{folder}, which {state}"
    else:
        got = f"{folder} without {', '.join(names)}"
    return (
        f"{caller}: root must be a folder with the four {title} files, plain or .gz, "
        f"got {got}; pass the folder that has them, or download=True to fetch them"
    )


def load_split(
    caller: str,
    title: str,
    image_path: Path,
    label_path: Path,
    *,
    classes: range = range(10),
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Read images `(N, 28, 28, 1)` and labels, which must be in `classes`."""
    images = read_idx(image_path, (None, 28, 28), caller)
    labels = read_idx(label_path, (None,), caller)
    if len(images) != len(labels):
        raise ValueError(
            f"{caller}: {image_path} and {label_path} must be equally long, got "
            f"{len(images)} images and {len(labels)} labels; they are of different "
            "sets: replace one"
        )
    wrong = (labels < classes.start) | (labels >= classes.stop)
    if wrong.any():
        index = int(np.argmax(wrong))
        raise ValueError(
            f"{caller}: {label_path} must hold labels in [{classes.start}, "
            f"{classes.stop}), got {labels[index]} at index {index}; it is damaged or "
            f"not {title}: replace it"
        )
    return images[..., None], labels.astype(np.int32)
