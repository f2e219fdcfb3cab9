"""CIFAR-10: small photographs of ten kinds, 50,000 to train and 10,000 to test."""

import os
from pathlib import Path

import numpy as np

from lucid_fn.data.cache import fingerprints, read_cache, write_cache
from lucid_fn.data.cifar10_batches import (
    ARCHIVES,
    CALLER,
    TEST_BATCH,
    TRAIN_BATCHES,
    Batch,
    batch_files,
    find_source,
    read_batches,
)
from lucid_fn.data.dataset import Dataset
from lucid_fn.data.download import Download, fetch
from lucid_fn.data.files import data_folder
from lucid_fn.io import check_path

CIFAR10_MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
"""Where `load_cifar10` downloads from, in this order."""

_ARCHIVE = Download(
    ARCHIVES[0],
    170_052_171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)
_FULL_BATCH = 10_000


def load_cifar10(
    root: str | os.PathLike[str] | None = None,
    *,
    download: bool = False,
    cache: str | os.PathLike[str] | None = None,
) -> Dataset:
    """CIFAR-10 from its binary or its Python version, packed or not.

    Below `root` the first of these is read: batches (`data_batch_1` to `data_batch_5`
    and `test_batch`, each as `.bin`, `.bin.gz` or pickled) in `root` itself, in
    `cifar-10-batches-bin` or in `cifar-10-batches-py`; the archive
    `cifar-10-binary.tar.gz`; the archive `cifar-10-python.tar.gz`. Archives are read
    without extracting them, and pickles without running what they ask for. A sample
    may have smaller and fewer training batches, but without a gap.

    Args:
        root: the folder, or the path of an archive. By default
            `$LUCID_FN_DATA/cifar10` if that variable is set, else
            `~/.cache/lucid_fn/cifar10`.
        download: whether to fetch the binary archive (170 MB) into `root` if nothing
            is there, from the first of `CIFAR10_MIRRORS` that sends it with the right
            checksum.
        cache: a folder for the decoded arrays, as `.npy` files and a `metadata.json`.
            The first call writes it; later ones map it into memory, read-only, after
            checking that neither it nor the source has changed, and else write it
            again. By default nothing is written.

    Returns:
        Images uint8, `(50000, 32, 32, 3)` and `(10000, 32, 32, 3)`, red, green, blue;
        labels int32 in [0, 10), `(50000,)` and `(10000,)`.

    Raises:
        FileNotFoundError: if there is no data or a batch is missing.
        ValueError: if a file is damaged, not what its name says, has a label out of
            [0, 10), or is a pickle that asks for more than arrays.
        OSError: if a download fails, or the cache cannot be written.

    Source: Krizhevsky, "Learning multiple layers of features from tiny images", 2009;
    https://www.cs.toronto.edu/~kriz/cifar.html.

    Example:
        >>> from lucid_fn import data
        >>> dataset = data.load_cifar10("examples/data/cifar10")  # a sample
        >>> dataset.train_images.shape, dataset.train_labels[:5].tolist()
        ((2000, 32, 32, 3), [6, 9, 9, 4, 1])
    """
    folder = data_folder(root, "cifar10", CALLER)
    source = find_source(folder)
    if source is None and download:
        source = fetch(_ARCHIVE, CIFAR10_MIRRORS, folder, CALLER)
    if source is None:
        raise FileNotFoundError(
            f"{CALLER}: root must be a folder with CIFAR-10's batches or one of its "
            f"archives, {' or '.join(ARCHIVES)}, got {folder}, which "
            f"{'has neither' if folder.exists() else 'is not there'}; "
            "pass the folder that has them, or download=True to fetch them"
        )
    if cache is None:
        return _read(source)
    return _read_cached(source, check_path(CALLER, "cache", cache))


def _read_cached(source: Path, cache: Path) -> Dataset:
    paths = batch_files(source).values() if source.is_dir() else [source]
    sources = fingerprints(paths, CALLER)
    cached = read_cache(cache, sources, CALLER)
    if cached is None:
        write_cache(cache, _read(source), sources, CALLER)
        cached = read_cache(cache, sources, CALLER)
    if cached is None:
        raise OSError(
            f"{CALLER}: cache must be a folder that keeps what is written, got {cache}"
        )
    return cached


def _read(source: Path) -> Dataset:
    batches = read_batches(source)
    missing = _missing(batches)
    if missing:
        raise FileNotFoundError(
            f"{CALLER}: {source} must hold all batches of CIFAR-10, got none of the "
            f"name {', '.join(missing)}; complete it, or read another copy"
        )
    train = [batches[name] for name in TRAIN_BATCHES if name in batches]
    return Dataset(
        np.concatenate([batch.images for batch in train]),
        np.concatenate([batch.labels for batch in train]),
        *batches[TEST_BATCH],
    )


def _missing(batches: dict[str, Batch]) -> list[str]:
    """The names that are not there; of the five a sample needs the first ones only."""
    sizes = {name: len(batch.labels) for name, batch in batches.items()}
    present = [i for i, name in enumerate(TRAIN_BATCHES) if name in sizes]
    needed = max(present, default=0) + 1
    if _FULL_BATCH in sizes.values():
        needed = len(TRAIN_BATCHES)
    return [n for n in (*TRAIN_BATCHES[:needed], TEST_BATCH) if n not in sizes]
