"""What a training run shows while it runs."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from lucid_fn.train.history import History

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


def interrupted(checkpoint: Path | None, history: History) -> str:
    """The line that is printed when Ctrl-C ends a run: where it resumes."""
    if checkpoint is None:
        return "interrupted: fit returns what has been done so far"
    if not history.epochs:
        return f"interrupted in the first epoch, after which {checkpoint} is written"
    done = history.epochs[-1]["epoch"]
    return f"interrupted: {checkpoint} resumes after epoch {done:.0f}"
