"""Functions of `(ts, record)` that `fit` calls after each epoch or step."""

import importlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import mlx.core as mx
import numpy as np

from lucid_fn.train import checkpoint
from lucid_fn.train.checks import check_folder
from lucid_fn.train.state import TrainState

Record: TypeAlias = dict[str, float]
"""What an epoch or a step did, in plain Python numbers by name."""

Callback: TypeAlias = Callable[[TrainState, Record], Any]
"""A function that `fit` calls; with an attribute `resume`, a function of the records
of past epochs, it learns of those of a run that goes on from a checkpoint."""

_LOWER = ("loss", "error", "mse", "mae", "rmse", "perplexity", "nll")
_HIGHER = (
    *("accuracy", "precision", "recall", "f1", "auc", "auroc", "iou", "dice"),
    *("r2", "psnr", "ssim", "bleu", "map", "mcc", "kappa"),
)


def early_stopping(
    metric: str, *, patience: int, higher_is_better: bool | None = None
) -> Callback:
    """Ends a run whose metric has not improved for `patience` epochs.

    For `fit(on_epoch=...)`. A run that goes on from a checkpoint counts the epochs
    before it. NaN is never an improvement.

    Args:
        metric: a name in the record of an epoch, such as `"test_loss"`.
        patience: epochs without improvement after which the run ends, at least 1.
        higher_is_better: by default told by the name: losses and errors fall,
            accuracies rise.

    Raises:
        TypeError: if `patience` is not an integer.
        ValueError: if `patience` is below 1, or the name does not tell which values
            are better; when called, if the record has no such metric.

    Example:
        >>> from lucid_fn import train
        >>> stop = train.early_stopping("test_loss", patience=2)
        >>> losses = [0.9, 0.5, 0.6, 0.7]
        >>> [stop(None, {"epoch": i + 1, "test_loss": x}) for i, x in enumerate(losses)]
        [False, False, False, True]
    """
    caller = "train.early_stopping"
    if isinstance(patience, bool) or not isinstance(patience, int | np.integer):
        raise TypeError(f"{caller}: patience must be an integer, got {patience!r}")
    if patience < 1:
        raise ValueError(f"{caller}: patience must be at least 1, got {patience}")
    seen = _Seen(caller, metric, higher_is_better)

    def stop(ts: TrainState, record: Record) -> bool:
        seen.add(record)
        return seen.since_best() >= patience

    stop.resume = seen.resume  # type: ignore[attr-defined]  # functions take attributes
    return stop


def keep_best(
    path: str | Path, metric: str, *, higher_is_better: bool | None = None
) -> Callback:
    """Saves the state of the best epoch so far to a file, for `fit(on_epoch=...)`.

    Read it with `train.load(path, like=ts)`; `train.load_metadata(path)` tells the
    epoch, the metric and its value. The first of equal epochs is kept.

    Args:
        path: ends in `.safetensors`; its folder exists.
        metric: as in `early_stopping`.
        higher_is_better: as in `early_stopping`.

    Raises:
        OSError: if the folder does not exist or cannot be written to.
        ValueError: if `path` ends otherwise, or the name does not tell which values
            are better; when called, if the record has no such metric.

    Example:
        >>> import tempfile
        >>> import mlx.core as mx
        >>> from lucid_fn import train
        >>> path = tempfile.mkdtemp() + "/best.safetensors"
        >>> keep = train.keep_best(path, "test_accuracy")
        >>> for epoch, accuracy in enumerate([0.8, 0.9, 0.7], 1):
        ...     ts = {"w": mx.array(float(epoch))}
        ...     keep(ts, {"epoch": epoch, "test_accuracy": accuracy})
        >>> train.load(path, like=ts)
        {'w': array(2, dtype=float32)}
    """
    caller = "train.keep_best"
    checkpoint.check_suffix(caller, path)
    check_folder(caller, "path", path)
    seen = _Seen(caller, metric, higher_is_better)

    def keep(ts: TrainState, record: Record) -> None:
        seen.add(record)
        if seen.values and seen.since_best() == 0:
            metadata = {
                "epoch": str(int(record["epoch"])),
                "metric": metric,
                "value": repr(record[metric]),
            }
            checkpoint.save(path, ts, metadata=metadata)

    keep.resume = seen.resume  # type: ignore[attr-defined]  # functions take attributes
    return keep


def to_jsonl(path: str | Path) -> Callback:
    """Appends each record to a file, as a line of JSON with the step.

    For `fit(on_epoch=...)` or `fit(on_step=...)`, a file each. Infinities and NaN
    become strings. At resume the lines of epochs that will be made again are dropped.

    Args:
        path: the file; its folder exists.

    Raises:
        OSError: if the folder does not exist or cannot be written to.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, optim, random, train
        >>> path = tempfile.mkdtemp() + "/log.jsonl"
        >>> log = train.to_jsonl(path)
        >>> ts = train.init(nn.linear(3, 2), optim.sgd(0.1), random.key(0))
        >>> log(ts, {"epoch": 1, "train_loss": 0.5})
        >>> Path(path).read_text()
        '{"step": 0, "epoch": 1, "train_loss": 0.5}\\n'
    """
    caller = "train.to_jsonl"
    check_folder(caller, "path", path)
    path = Path(path)

    def log(ts: TrainState, record: Record) -> None:
        line = json.dumps({"step": _step(ts), **plain(record)}, allow_nan=False)
        with path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def resume(epochs: list[Record]) -> None:
        if path.exists():
            lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
            kept = [line for line in lines if _epoch(line) <= len(epochs)]
            write_text(path, "".join(kept))

    log.resume = resume  # type: ignore[attr-defined]  # functions take attributes
    return log
