"""Learning rate schedules."""

from collections.abc import Callable
from pathlib import Path

import mlx.core as mx
import numpy as np

from lucid_fn.checks import check_count, check_function
from lucid_fn.plot.figure import check_picture, save, stacked_panels
from lucid_fn.types import Array

_POINTS = 2000  # more than a picture has pixels


def lr(
    schedule: Callable[[Array], Array],
    path: str | Path,
    *,
    steps: int,
    title: str = "",
) -> None:
    """Plot a schedule from step 0 to `steps`.

    Args:
        schedule: a function of the step, such as `schedules.cosine_decay(...)`.
        path: the file to write, `.png`, `.pdf` or `.svg`, in an existing folder.
        steps: the last step, at least 1.
        title: title of the plot.

    Raises:
        ImportError: if matplotlib is not installed.
        TypeError: if `schedule` is not a function, or `steps` not an integer.
        ValueError: if `steps` is less than 1.
        OSError: if the file cannot be written.

    Example:
        >>> import tempfile
        >>> from lucid_fn import plot, schedules
        >>> schedule = schedules.warmup_cosine(0.1, warmup_steps=50, total_steps=500)
        >>> plot.lr(schedule, tempfile.mkdtemp() + "/lr.png", steps=500)
    """
    path = check_picture("plot.lr", path)
    check_function("plot.lr", "schedule", schedule)
    steps = check_count("plot.lr", "steps", steps)
    shown = np.unique(np.linspace(0, steps, min(steps + 1, _POINTS)).astype(np.int32))
    values = [float(np.array(schedule(mx.array(step)))) for step in shown.tolist()]
    figure, (axis,) = stacked_panels(1, title)
    axis.plot(shown, values)
    axis.set_xlabel("step")
    axis.set_ylabel("learning rate")
    axis.set_ylim(bottom=min(0.0, *values))
    axis.grid(alpha=0.3)
    save(figure, path, "plot.lr")
