"""Progress bars and the lines that `fit` prints."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lucid_fn.train.history import to_jsonable
from lucid_fn.train.resuming import EpochProgress, Start

_REFRESH = 0.1  # seconds between updates of the values: nobody reads faster


class Progress(NamedTuple):
    """The bar of an epoch: `advance(values)` after each batch, `close()` at the end."""

    advance: Callable[[Callable[[], dict[str, float]]], None]
    close: Callable[[], None]


def silent() -> Progress:
    """A bar that shows nothing and never calls `values`."""
    return Progress(lambda values: None, lambda: None)


def bar(total: int | None, label: str) -> Progress:
    """A bar in a terminal or a notebook if `tqdm` is installed, else a silent one.

    `values` is called at most ten times a second, since collecting and writing them
    takes a tenth of the time of a small step.
    """
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return silent()
    shown: Any = tqdm(total=total, desc=label, unit="batch", leave=False, disable=None)
    if shown.disable:
        return silent()
    next_refresh = 0.0

    def advance(values: Callable[[], dict[str, float]]) -> None:
        nonlocal next_refresh
        if (now := time.monotonic()) >= next_refresh:
            next_refresh = now + _REFRESH
            texts = {name: f"{value:.4g}" for name, value in values().items()}
            shown.set_postfix(texts, refresh=False)
        shown.update()

    return Progress(advance, shown.close)


def epoch_line(record: dict[str, float], epochs: int) -> str:
    """One line per epoch: `epoch  1/10  train loss 0.2381 accuracy 0.9312 ...`."""
    width = len(str(epochs))
    parts = [f"epoch {int(record['epoch']):{width}d}/{epochs}"]
    for phase in ("train", "test"):
        values = [
            f"{name.removeprefix(phase + '_')} {value:.4f}"
            for name, value in record.items()
            if name.startswith(phase + "_") and not name.endswith("_seconds")
        ]
        if values:
            parts.append(f"{phase} " + " ".join(values))
    if "learning_rate" in record:
        parts.append(f"lr {record['learning_rate']:.4g}")
    seconds = record["train_seconds"] + record.get("test_seconds", 0.0)
    parts.append(f"{seconds:.1f} s")
    return "  ".join(parts)


def _position(at: EpochProgress) -> str:
    """`after epoch 2`, or `in epoch 2, after 30 of 391 batches`."""
    if not at.batches:
        return f"after epoch {at.epoch}"
    total = "" if at.length is None else f" of {at.length}"
    return f"in epoch {at.epoch + 1}, after {at.batches}{total} batches"


def resumed(checkpoint: Path, start: Start, config: dict[str, Any] | None) -> str:
    """The line that is printed when a run resumes, with the changes of `config`."""
    line = f"resumed from {checkpoint} {_position(start.progress)}"
    if start.progress.epoch >= start.end:
        line += "; no epoch is left to train"
    elif start.progress.ended:
        line += ", where on_step ended the run; to go on, call fit without on_step"
    before, now = (
        start.history.config,
        json.loads(json.dumps(to_jsonable(config or {}))),
    )
    changed = [
        f"{name} {before.get(name)!r} -> {now.get(name)!r}"
        for name in before | now
        if before and now and before.get(name) != now.get(name)
    ]
    return f"{line}; changed: {', '.join(changed)}" if changed else line


def interrupted(checkpoint: Path | None, saved_at: EpochProgress | None) -> str:
    """The line that is printed when a signal ends a run: where it will resume."""
    if checkpoint is None:
        return "interrupted: fit returns what has been done so far"
    if saved_at is None:
        return f"interrupted before {checkpoint} was written; run again to start anew"
    where = _position(saved_at)
    return f"interrupted: {checkpoint} resumes {where}; run again to go on"
