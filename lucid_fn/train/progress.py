"""What a training run shows while it runs."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lucid_fn.train.history import plain
from lucid_fn.train.resuming import Beginning, EpochProgress

_EVERY = 0.1  # seconds between two sets of values: nobody reads faster


class Progress(NamedTuple):
    """One epoch's bar: `advance(values)` a batch, `close()` at the end."""

    advance: Callable[[Callable[[], dict[str, float]]], None]
    close: Callable[[], None]


def silent() -> Progress:
    """A bar that shows nothing, and asks for no values."""
    return Progress(lambda values: None, lambda: None)


def bar(total: int | None, label: str) -> Progress:
    """A bar on a terminal or in a notebook, if `tqdm` is installed; else nothing.

    `values` is called at most ten times a second, since collecting and writing them
    takes a tenth of a small step.
    """
    try:
        from tqdm.auto import tqdm
    except ImportError:
        return silent()
    shown: Any = tqdm(total=total, desc=label, unit="batch", leave=False, disable=None)
    if shown.disable:
        return silent()
    due = 0.0

    def advance(values: Callable[[], dict[str, float]]) -> None:
        nonlocal due
        if (now := time.monotonic()) >= due:
            due = now + _EVERY
            texts = {name: f"{value:.4g}" for name, value in values().items()}
            shown.set_postfix(texts, refresh=False)
        shown.update()

    return Progress(advance, shown.close)


def epoch_line(record: dict[str, float], epochs: int) -> str:
    """An epoch in one line: `epoch  1/10  train loss 0.2381 accuracy 0.9312 ...`."""
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


def place(at: EpochProgress) -> str:
    """A place in a run, such as `after epoch 2`."""
    if not at.batches:
        return f"after epoch {at.epoch}"
    total = "" if at.length is None else f" of {at.length}"
    return f"in epoch {at.epoch + 1}, after {at.batches}{total} batches"


def resumed(checkpoint: Path, start: Beginning, config: dict[str, Any] | None) -> str:
    """The line that is printed when a run resumes, with what `config` has changed."""
    line = f"resumed from {checkpoint} {place(start.progress)}"
    before, now = start.history.config, json.loads(json.dumps(plain(config or {})))
    changed = [
        f"{name} {before.get(name)!r} -> {now.get(name)!r}"
        for name in before | now
        if before and now and before.get(name) != now.get(name)
    ]
    return f"{line}; changed: {', '.join(changed)}" if changed else line


def interrupted(checkpoint: Path | None, saved_at: EpochProgress | None) -> str:
    """The line that is printed when a signal ends a run: where it resumes."""
    if checkpoint is None:
        return "interrupted: fit returns what has been done so far"
    if saved_at is None:
        return f"interrupted before {checkpoint} was written"
    return f"interrupted: {checkpoint} resumes {place(saved_at)}"
