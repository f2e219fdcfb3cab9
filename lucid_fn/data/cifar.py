"""Code shared by the loaders of CIFAR-10 and CIFAR-100."""

import os
from pathlib import Path

import numpy as np

from lucid_fn.data.cache import fingerprints, read_cache, write_cache
from lucid_fn.data.cifar_files import (
    Batch,
    Layout,
    batch_files,
    find_source,
    read_batches,
)
from lucid_fn.data.dataset import Dataset
from lucid_fn.data.download import Download, fetch
from lucid_fn.io import check_path

_FULL_BATCH = 10_000  # images in a batch of the whole CIFAR-10


def load_batches(
    layout: Layout,
    folder: Path,
    archive: Download,
    mirrors: tuple[str, ...],
    cache: str | os.PathLike[str] | None,
    *,
    labels: bytes,
) -> Dataset:
    """Load CIFAR-10 or CIFAR-100.

    Args:
        layout: the names of its files.
        folder: the folder of the files, or the path of an archive.
        archive: the file to download if there is neither.
        mirrors: where to download it from; empty for no download.
        cache: a folder for the decoded arrays; `None` for no cache.
        labels: which of the layout's labels to return.
    """
    source = find_source(layout, folder)
    if source is None and mirrors:
        source = fetch(archive, mirrors, folder, layout.caller)
    if source is None:
        raise FileNotFoundError(
            f"{layout.caller}: root must be a folder with {layout.title}'s batches or "
            f"one of its archives, {' or '.join(layout.archives)}, got {folder}, which "
            f"{'has neither' if folder.exists() else 'does not exist'}; "
            "pass the folder that has them, or download=True to fetch them"
        )
    if cache is None:
        dataset = _read(layout, source)
    else:
        folder = check_path(layout.caller, "cache", cache)
        dataset = _read_cached(layout, source, folder)
    kind = list(layout.labels).index(labels)
    return dataset._replace(
        train_labels=dataset.train_labels[:, kind],
        test_labels=dataset.test_labels[:, kind],
    )


def _read_cached(layout: Layout, source: Path, cache: Path) -> Dataset:
    paths = batch_files(layout, source).values() if source.is_dir() else [source]
    sources = fingerprints(paths, layout.caller)
    cached = read_cache(cache, sources, layout.caller)
    if cached is None:
        write_cache(cache, _read(layout, source), sources, layout.caller)
        cached = read_cache(cache, sources, layout.caller)
    if cached is None:
        raise OSError(
            f"{layout.caller}: cache must be a folder that keeps what is written, got "
            f"{cache}"
        )
    return cached


def _read(layout: Layout, source: Path) -> Dataset:
    """Read all files; labels are int32 `(N, kinds of labels)`."""
    batches = read_batches(layout, source)
    if missing := _missing(layout, batches):
        raise FileNotFoundError(
            f"{layout.caller}: {source} must hold all batches of {layout.title}, got "
            f"none of the name {', '.join(missing)}; complete it, or read another copy"
        )
    train = [batches[name] for name in layout.train_batches if name in batches]
    return Dataset(
        np.concatenate([batch.images for batch in train]),
        np.concatenate([batch.labels for batch in train]),
        *batches[layout.test_batch],
    )


def _missing(layout: Layout, batches: dict[str, Batch]) -> list[str]:
    """Names of missing batches; a sample may lack the last training batches."""
    sizes = {name: len(batch.labels) for name, batch in batches.items()}
    train = layout.train_batches
    present = [i for i, name in enumerate(train) if name in sizes]
    needed = max(present, default=0) + 1
    if _FULL_BATCH in sizes.values():
        needed = len(train)
    return [n for n in (*train[:needed], layout.test_batch) if n not in sizes]
