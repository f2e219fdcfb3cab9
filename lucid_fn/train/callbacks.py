"""Callbacks: functions of `(ts, record)` that `fit` calls after each epoch or step."""

import json
import math
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import mlx.core as mx
import numpy as np

from lucid_fn import io
from lucid_fn.checks import check_count
from lucid_fn.distributed.agreement import exchange
from lucid_fn.distributed.group import Group
from lucid_fn.train import checkpoint
from lucid_fn.train.history import to_jsonable
from lucid_fn.train.state import TrainState, step_of

Record: TypeAlias = dict[str, float]
"""The numbers of an epoch or a step by name, as plain Python numbers."""

Callback: TypeAlias = Callable[[TrainState, Record], Any]
"""A function that `fit` calls. If it has an attribute `resume`, a run that resumes from
a checkpoint first calls `resume(epochs, next_epoch)` with the records of the previous
epochs and the epoch, counted from 1, of the first call that follows."""

_LOWER = ("loss", "error", "mse", "mae", "rmse", "perplexity", "ppl", "nll")
_HIGHER = (
    *("accuracy", "acc", "precision", "recall", "f1", "auc", "auroc", "iou", "dice"),
    *("r2", "psnr", "ssim", "bleu", "map", "mcc", "kappa"),
)


def early_stopping(
    metric: str, *, patience: int, higher_is_better: bool | None = None
) -> Callback:
    """Early stopping: end the run once a metric has not improved for `patience` epochs.

    Pass it to `fit(on_epoch=...)`. A run that resumes from a checkpoint takes the
    epochs before it into account. NaN is never an improvement.

    Args:
        metric: a name in the record of an epoch, such as `"test_loss"`.
        patience: epochs without improvement after which the run ends, at least 1.
        higher_is_better: by default inferred from the name: lower is better for losses
            and errors, higher for accuracies and scores.

    Raises:
        TypeError: if `patience` is not an integer.
        ValueError: if `patience` is below 1, or the direction cannot be inferred from
            the name; when called, if the record lacks the metric or is that of a step.

    Example:
        >>> from lucid_fn import train
        >>> stop = train.early_stopping("test_loss", patience=2)
        >>> losses = [0.9, 0.5, 0.6, 0.7]
        >>> [stop(None, {"epoch": i + 1, "test_loss": x}) for i, x in enumerate(losses)]
        [False, False, False, True]
    """
    caller = "train.early_stopping"
    patience = check_count(caller, "patience", patience)
    past = _MetricHistory(caller, metric, higher_is_better)

    def stop(ts: TrainState, record: Record) -> bool:
        return past.add(record) and past.epochs_since_best() >= patience

    stop.resume = past.resume  # type: ignore[attr-defined]  # functions take attributes
    return stop


def keep_best(
    path: str | Path, metric: str, *, higher_is_better: bool | None = None
) -> Callback:
    """Save the state of the best epoch so far.

    Pass it to `fit(on_epoch=...)`. Load the state with `train.load(path, like=ts)`;
    `train.load_metadata(path)` returns the epoch, the metric and its value. Of equally
    good epochs, the first is kept.

    Args:
        path: must end in `.safetensors`; the folder must exist.
        metric: as in `early_stopping`.
        higher_is_better: as in `early_stopping`.

    Raises:
        OSError: if the folder does not exist or cannot be written to.
        ValueError: if `path` has another suffix, or the direction cannot be inferred
            from the name; when called, if the record lacks the metric or is that of a
            step.

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
    path = checkpoint.check_path(caller, "path", path)
    io.check_writable(path, caller=caller)
    past = _MetricHistory(caller, metric, higher_is_better)

    def keep(ts: TrainState, record: Record) -> None:
        is_best = past.add(record) and past.epochs_since_best() == 0
        if is_best and not math.isnan(record[metric]):
            metadata = {
                "epoch": str(int(record["epoch"])),
                "metric": metric,
                "value": repr(record[metric]),
            }
            checkpoint.save(path, ts, metadata=metadata)

    keep.resume = past.resume  # type: ignore[attr-defined]  # functions take attributes
    return keep


def to_jsonl(path: str | Path) -> Callback:
    """Append each record, with the step, to a file of JSON lines.

    Pass it to `fit(on_epoch=...)` or `fit(on_step=...)`; each needs its own file.
    Infinities and NaN become strings. A run that resumes from a checkpoint drops the
    lines of epochs or steps that are trained again.

    Args:
        path: the file; the folder must exist.

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
    path = io.check_path(caller, "path", path)
    io.check_writable(path, caller=caller)

    resumed = False

    def log(ts: TrainState, record: Record) -> None:
        nonlocal resumed
        if resumed:
            drop_lines_from(record)
            resumed = False
        try:
            line = json.dumps(
                {"step": step_of(ts), **to_jsonable(record)}, allow_nan=False
            )
        except TypeError as error:
            raise TypeError(
                f"{caller}: the record must hold numbers and strings, got {record!r}; "
                "convert an array to a number with .item()"
            ) from error
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        except OSError as error:
            raise type(error)(
                f"{caller}: cannot write {path}: {error.strerror or error}"
            ) from error

    def drop_lines_from(record: Record) -> None:
        name = "step" if "step" in record else "epoch"
        if path.exists():
            lines = io.read_bytes(path, caller=caller).splitlines(keepends=True)
            with io.atomic_write(path, caller=caller) as file:
                file.writelines(x for x in lines if 0 < _count(x, name) < record[name])

    def resume(epochs: list[Record], next_epoch: int) -> None:
        nonlocal resumed
        resumed = True  # the next record determines which lines to drop

    log.resume = resume  # type: ignore[attr-defined]  # functions take attributes
    return log


def to_tensorboard(folder: str | Path) -> Callback:
    """Write each record as TensorBoard scalars, over the steps.

    Pass it to `fit(on_epoch=...)`, `fit(on_step=...)` or both. The metrics of an epoch
    are grouped by phase: `train/loss`, `test/loss`. View them with `tensorboard
    --logdir folder`. To compare runs, give each a subfolder of one folder.

    Args:
        folder: created if it does not exist.

    Raises:
        ImportError: if the package `tensorboard` is not installed.
        OSError: if the folder cannot be created or written to.

    Example:
        >>> from lucid_fn import train
        >>> log = train.to_tensorboard("runs/lenet")  # doctest: +SKIP
        >>> train.fit(..., on_epoch=log)  # doctest: +SKIP
    """
    caller = "train.to_tensorboard"
    folder = io.check_path(caller, "folder", folder)
    try:
        from tensorboard.summary import Writer
    except ImportError as error:
        raise ImportError(
            f"{caller} needs TensorBoard: pip install 'lucid-fn[tensorboard]'"
        ) from error
    folder.mkdir(parents=True, exist_ok=True)
    io.check_writable(folder / "events", caller=caller)
    writer: Any = None  # made at the first record, since it creates a file

    def log(ts: TrainState, record: Record) -> None:
        nonlocal writer
        if writer is None:
            writer = Writer(str(folder))
            weakref.finalize(log, writer.close)  # when the program ends, if not before
        step = step_of(ts)
        for name, value in record.items():
            if name not in ("epoch", "step"):
                writer.add_scalar(_tag(name), value, step)
        if "train_loss" in record:  # after an epoch: waiting for the disk is cheap
            writer.flush()

    return log


def _tag(name: str) -> str:
    phase, _, rest = name.partition("_")
    return f"{phase}/{rest}" if phase in ("train", "test") else name


def _count(line: bytes, name: str) -> int:
    """The epoch or the step in a line of `to_jsonl`; 0 if the line was cut short."""
    try:
        return int(json.loads(line)[name])
    except (ValueError, KeyError, TypeError):
        return 0


class _MetricHistory:
    """The values of one metric in the epochs of a run so far."""

    def __init__(self, caller: str, metric: str, higher_is_better: bool | None) -> None:
        self.caller = caller
        self.metric = metric
        self.sign = _sign(caller, metric, higher_is_better)
        self.values: list[tuple[int, float]] = []  # epoch, and the higher the better
        self.first_after_resume: int | None = None  # epoch

    def resume(self, epochs: list[Record], next_epoch: int) -> None:
        """Start with the records of past epochs that have the metric."""
        self.values, self.first_after_resume = [], next_epoch
        for record in epochs:
            if self.metric in record:
                self.add(record)

    def add(self, record: Record) -> bool:
        """Add the record of an epoch.

        Returns:
            Whether the record has the metric. It may be missing from the last epoch of
            a checkpoint, for which callbacks are called again, but not from later ones.
        """
        if "step" in record:
            raise ValueError(
                f"{self.caller}: must be called after epochs, got the record of a "
                "step; give it to on_epoch= of train.fit"
            )
        if self.metric not in record:
            if record["epoch"] == self.first_after_resume:
                return False
            raise ValueError(
                f"{self.caller}: metric must be in the record of an epoch, got "
                f"{self.metric!r}; there is {', '.join(record)}"
            )
        # An epoch that is already known is trained again, or begins another run.
        epoch = int(record["epoch"])
        self.values = [(e, value) for e, value in self.values if e < epoch]
        value = self.sign * record[self.metric]
        self.values.append((epoch, -math.inf if math.isnan(value) else value))
        return True

    def epochs_since_best(self) -> int:
        """The number of epochs since the best one; of equal ones, the first."""
        values = [value for _, value in self.values]
        return len(values) - 1 - values.index(max(values))


def _sign(caller: str, metric: str, higher_is_better: bool | None) -> int:
    if not isinstance(metric, str):
        raise TypeError(
            f"{caller}: metric must be a name such as 'test_loss', got {metric!r}"
        )
    if higher_is_better is None:
        words = metric.lower().split("_")
        lower, higher = (any(x in words for x in known) for known in (_LOWER, _HIGHER))
        if lower == higher:
            raise ValueError(
                f"{caller}: metric {metric!r} does not tell which values are better; "
                "give higher_is_better=True or False"
            )
        return 1 if higher else -1
    if not isinstance(higher_is_better, bool):
        raise TypeError(
            f"{caller}: higher_is_better must be a bool or None, got "
            f"{higher_is_better!r}"
        )
    return 1 if higher_is_better else -1


def call_all(
    callbacks: tuple[Callback, ...],
    ts: TrainState,
    record: Record,
    group: Group | None,
) -> bool:
    """Call all callbacks on rank 0; return whether one of them ends the run."""
    called = callbacks if group is None or group.rank == 0 else ()
    # Only a bool ends the run: a callback may return a count, such as bytes written.
    returned = [callback(ts, dict(record)) for callback in called]
    ended = any(_is_true(value) for value in returned)
    return exchange(group, "fit (callbacks)", ended)[0] if callbacks else False


def _is_true(value: Any) -> bool:
    if isinstance(value, mx.array) and value.dtype == mx.bool_ and value.size == 1:
        return bool(value.item())
    return isinstance(value, bool | np.bool_) and bool(value)
