"""Finding where a run starts: at the given state, or at its checkpoint."""

import json
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import optim, tree
from lucid_fn.optim.zero_redundancy import whole_like
from lucid_fn.train import checkpoint as checkpoints
from lucid_fn.train.evaluation import number
from lucid_fn.train.history import History, environment, parse_history
from lucid_fn.train.state import TrainState, step_of


class EpochProgress(NamedTuple):
    """A position within an epoch, and the sums with which its record continues."""

    epoch: int  # counted from 0
    batches: int = 0  # trained on so far
    length: int | None = None  # batches in the whole epoch, if known
    size: int = 0  # examples that the sums cover, on all ranks
    sums: dict[str, float] | None = None  # of each metric over these examples
    seconds: float = 0.0  # spent so far
    ended: bool = False  # whether `on_step` has ended the run


class Start(NamedTuple):
    """Where a run starts; epochs are counted from 0."""

    ts: TrainState
    history: History  # of the run so far
    step: int  # the number of steps so far
    progress: EpochProgress  # of the first epoch to train
    end: int  # the epoch before which the run ends
    last_step: int | None  # the step after which it ends
    resumed: bool  # whether `ts` is the checkpoint's
    metadata: dict[str, str]  # for its checkpoints: step and settings at the very start


def find_start(
    ts: TrainState,
    batches: Callable[[int], Iterable[Any]],
    *,
    epochs: int,
    start_epoch: int | None,
    max_steps: int | None,
    checkpoint: Path | None,
) -> Start:
    """Find where `fit` starts; `epochs` and `max_steps` are counted from `ts`."""
    whole, step = whole_like(ts), step_of(ts)
    last_step = None if max_steps is None else step + max_steps
    if checkpoint is None or not checkpoint.exists():
        epoch, skip = _position(step, batches, start_epoch)
        history = History([], [], {}, environment(), False)
        metadata = {"start_step": str(step), "settings": json.dumps(_settings(whole))}
        return Start(
            ts=ts,
            history=history,
            step=step,
            progress=EpochProgress(epoch, batches=skip),
            end=epoch + epochs,
            last_step=last_step,
            resumed=False,
            metadata=metadata,
        )
    saved = _read(checkpoint, whole)
    if saved.step < step:
        raise ValueError(
            f"fit: checkpoint {checkpoint} must not be behind ts, got one of step "
            f"{saved.step} for a ts of step {step}; give the ts of train.init to "
            "continue from the checkpoint, or delete it to continue from ts"
        )
    if saved.cut and (last_step is None or saved.step < last_step):
        raise ValueError(
            f"fit: checkpoint {checkpoint} of an older version must be from the end of "
            f"an epoch, got one that max_steps or on_step ended at step {saved.step}, "
            f"within epoch {saved.progress.epoch}, whose other batches would be left "
            "out; delete it, or give another path"
        )
    resumed = saved.step > step
    if resumed:
        _warn_of_changes(checkpoint, whole, saved)
    elif start_epoch is None:
        start_epoch = saved.progress.epoch
    first, _ = _position(step, batches, start_epoch)
    history = saved.history._replace(environment=environment())
    return Start(
        ts=optim.shard_state(saved.ts, like=ts) if resumed else ts,
        history=history,
        step=saved.step,
        progress=saved.progress,
        end=first + epochs,
        last_step=last_step,
        resumed=resumed,
        metadata=saved.metadata,
    )


def length(batches: Any) -> int | None:
    """The number of batches, if it is known."""
    try:
        return len(batches)
    except TypeError:
        return None


def _position(
    step: int, batches: Callable[[int], Iterable[Any]], start_epoch: int | None
) -> tuple[int, int]:
    """The epoch of a step, and the number of batches of the epoch before it."""
    if start_epoch is not None or step == 0:
        return start_epoch or 0, 0
    count = length(batches(0))
    if not count:
        raise ValueError(
            f"fit: start_epoch must be given for a ts of step {step}, since batches(0) "
            "has no length from which to compute its epoch"
        )
    return divmod(step, count)


class _Saved(NamedTuple):
    """The contents of a checkpoint."""

    ts: TrainState
    history: History
    step: int
    progress: EpochProgress  # of the next epoch to train
    cut: bool  # whether an older version ended it within its last epoch
    settings: dict[str, float]  # at the very start of the run
    metadata: dict[str, str]


def _read(path: Path, like: TrainState) -> _Saved:
    arrays, metadata = checkpoints.read(path, "fit")
    if "history" not in metadata:
        raise ValueError(
            f"fit: checkpoint {path} must be one that fit wrote, got one without a "
            "record; load it with train.load and pass the result as ts"
        )
    try:
        ts = tree.restore(like, arrays, caller=f"fit: checkpoint {path}")
    except ValueError as error:
        error.add_note(
            "to resume, use the model and the optimizer with which the checkpoint was "
            "written; to start anew, delete it or give another path"
        )
        raise
    history = parse_history(metadata["history"], caller="fit", source=path)
    try:
        first_step = int(metadata.get("start_step", "0"))
        settings = dict(json.loads(metadata.get("settings", "{}")))
        text = metadata.get("progress")  # older versions save after epochs only
        progress = EpochProgress(**json.loads(text)) if text else None
    except (TypeError, ValueError) as error:
        raise ValueError(f"fit: checkpoint {path} is damaged: {error}") from error
    step, made = step_of(ts), len(history.batch_losses)
    numbers = [int(record["epoch"]) for record in history.epochs]
    if progress is None and numbers:
        progress = EpochProgress(numbers[-1])
    if (
        step != first_step + made
        or progress is None
        or not (numbers or progress.batches)
        or numbers != [progress.epoch - i for i in reversed(range(len(numbers)))]
    ):
        raise ValueError(
            f"fit: checkpoint {path} must have a record that agrees with its state, "
            f"got epochs {numbers} and {made} losses from step {first_step} on, and a "
            f"state of step {step}; load the state alone with train.load"
        )
    kept = {
        name: text
        for name, text in metadata.items()
        if name in ("start_step", "settings")
    }
    cut = metadata.get("cut") == "True"
    return _Saved(ts, history, step, progress, cut, settings or _settings(ts), kept)


def _settings(ts: TrainState) -> dict[str, float]:
    """The hyperparameters in an optimizer's state, such as its learning rate.

    Learning rates of schedules are left out: each update computes them anew.
    """
    leaves = tree.named_leaves(ts.opt_state)
    return {
        path: number(leaf)
        for path, leaf in leaves.items()
        if isinstance(leaf, mx.array)
        and leaf.ndim == 0
        and mx.issubdtype(leaf.dtype, mx.floating)
        and not (
            path.endswith("learning_rate")
            and path.removesuffix("learning_rate") + "step" in leaves
        )
    }


def _warn_of_changes(path: Path, ts: TrainState, saved: _Saved) -> None:
    """Warn of settings that have changed in the code, but not in the checkpoint."""
    before, now = saved.settings, _settings(saved.ts)
    for name, value in _settings(ts).items():
        if name in before and value not in (before[name], now.get(name)):
            kept = now.get(name, before[name])
            warnings.warn(
                f"fit: opt_state.{name} is {value:.6g} in the code, but the run "
                f"resumes from {path}, which keeps {kept:.6g}; to change it, set it in "
                "the checkpoint: ts = train.load(path, like=ts), then "
                "optim.set_learning_rate or optim.set_hyperparameters on ts.opt_state, "
                "then train.save(path, ts, metadata=train.load_metadata(path))",
                stacklevel=5,  # the line that calls fit
            )
