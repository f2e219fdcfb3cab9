"""Learning curves: losses and metrics over the epochs of training runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lucid_fn.checks import check_type
from lucid_fn.plot.figure import (
    COLORS,
    check_picture,
    save,
    stacked_panels,
    whole_ticks,
)
from lucid_fn.train import History

Runs = Mapping[str, History | Sequence[History]]


class _Pen(NamedTuple):
    color: str
    width: float


def curves(history: History, path: str | Path, *, title: str = "") -> None:
    """Plot the loss and the metrics of a run over its epochs, train and test.

    Args:
        history: the history of a run.
        path: the file to write, `.png`, `.pdf` or `.svg`, in an existing folder.
        title: title of the plot.

    Raises:
        ImportError: if matplotlib is not installed.
        TypeError: if `history` is not a `History`.
        ValueError: if the history has no epoch.
        OSError: if the file cannot be written.

    Example:
        >>> import tempfile
        >>> from lucid_fn import plot, train
        >>> epochs = [{"epoch": 1, "train_loss": 0.9, "test_loss": 0.8}]
        >>> run = train.History([1.1, 0.7], epochs, {}, {}, interrupted=False)
        >>> plot.curves(run, tempfile.mkdtemp() + "/curves.png", title="LeNet-5")
    """
    path = check_picture("plot.curves", path)
    figure = draw_curves({"": history}, "plot.curves", title, alone=True)
    save(figure, path, "plot.curves")


def compare(runs: Runs, path: str | Path, *, title: str = "") -> None:
    """Plot the learning curves of several runs in one figure, each in its own color.

    Train curves are solid, test curves dashed. Several runs under one name, such as
    those of several seeds, are drawn as their mean, with a band from minimum to
    maximum.

    Args:
        runs: the histories by name, as shown in the legend; a history or a list of
            them.
        path: the file to write, `.png`, `.pdf` or `.svg`, in an existing folder.
        title: title of the plot.

    Raises:
        ImportError: if matplotlib is not installed.
        TypeError: if a run is not a `History`.
        ValueError: if there is no run, or a history has no epoch.
        OSError: if the file cannot be written.

    Example:
        >>> import tempfile
        >>> from lucid_fn import plot, train
        >>> epochs = [{"epoch": 1, "train_loss": 0.9, "test_loss": 0.8}]
        >>> run = train.History([1.1, 0.7], epochs, {}, {}, interrupted=False)
        >>> path = tempfile.mkdtemp() + "/compare.png"
        >>> plot.compare({"sgd": run, "adam, 2 seeds": [run, run]}, path)
    """
    path = check_picture("plot.compare", path)
    save(draw_curves(runs, "plot.compare", title), path, "plot.compare")


def draw_curves(
    runs: Runs, caller: str, title: str = "", *, alone: bool = False
) -> Any:
    """The figure of `compare`; a single run may have the name ""."""
    grouped = _grouped(runs, caller, alone=alone)
    metrics = _shared_metrics(grouped, caller)
    figure, axes = stacked_panels(len(metrics), title)
    for axis, metric in zip(axes, metrics, strict=True):
        for (name, group), pen in zip(grouped.items(), _pens(grouped), strict=True):
            _plot_phases(axis, group, metric, name, pen)
        axis.set_ylabel(_label(metric))
        axis.grid(alpha=0.3)
        axis.legend()
    axes[-1].set_xlabel("epoch")
    whole_ticks(axes[-1])
    return figure


def batch_and_epoch_losses(
    runs: Mapping[str, History], path: str | Path, *, title: str = ""
) -> None:
    """Plot the loss of every batch above the train and test losses of every epoch.

    In the upper panel, the losses of batches are pale, and their moving average over a
    twentieth of the run is bold. In the lower panel, train curves are solid and test
    curves dashed.

    Args:
        runs: the histories by name, as shown in the legend.
        path: the file to write, `.png`, `.pdf` or `.svg`, in an existing folder.
        title: title of the plot.

    Raises:
        ImportError: if matplotlib is not installed.
        TypeError: if a run is not a `History`.
        ValueError: if there is no run, or a history has no epoch.
        OSError: if the file cannot be written.

    Example:
        >>> import tempfile
        >>> from lucid_fn import plot, train
        >>> epochs = [{"epoch": 1, "train_loss": 0.9, "test_loss": 0.8}]
        >>> run = train.History([1.1, 0.7], epochs, {}, {}, interrupted=False)
        >>> path = tempfile.mkdtemp() + "/losses.png"
        >>> plot.batch_and_epoch_losses({"sgd": run}, path)
    """
    path = check_picture("plot.batch_and_epoch_losses", path)
    grouped = _grouped(runs, "plot.batch_and_epoch_losses", alone=True)
    figure, (batches, epochs) = stacked_panels(2, title, share_x=False)
    for (name, (history,)), pen in zip(grouped.items(), _pens(grouped), strict=True):
        losses = history.batch_losses
        steps = range(1, len(losses) + 1)
        batches.plot(steps, losses, color=pen.color, alpha=0.25, linewidth=0.7)
        mean = _moving_average(losses)
        batches.plot(steps, mean, color=pen.color, linewidth=pen.width, label=name)
        _plot_phases(epochs, [history], "loss", name, pen)
    batches.set_xlabel("batch")
    epochs.set_xlabel("epoch")
    whole_ticks(epochs)
    for axis in (batches, epochs):
        axis.set_ylabel(_label("loss"))
        axis.grid(alpha=0.3)
        axis.legend()
    save(figure, path, "plot.batch_and_epoch_losses")


def _moving_average(values: list[float]) -> list[float]:
    """The moving average over the last twentieth of the values.

    Values are cut into blocks of the window's size, so each window is the end of one
    block and the beginning of the next, whose sums are cumulative. Unlike a difference
    of two running sums, this confines large and nonfinite values to their windows.
    """
    window = max(1, len(values) // 20)
    count = -(-len(values) // window)
    blocks = np.zeros((count + 1, window))  # zeros before the first value
    blocks.reshape(-1)[window : window + len(values)] = values
    beginnings = np.cumsum(blocks[1:], axis=1)
    ends = np.cumsum(blocks[:-1, ::-1], axis=1)[:, ::-1]
    beginnings[:, :-1] += ends[:, 1:]
    sums = beginnings.reshape(-1)[: len(values)]
    counts = np.minimum(np.arange(1, len(values) + 1), window)
    means: list[float] = (sums / counts).tolist()
    return means


def _plot_phases(
    axis: Any, group: list[History], metric: str, name: str, pen: _Pen
) -> None:
    """Plot a metric over the epochs, for the train and, if present, the test set."""
    for phase, style in (("train", "-o"), ("test", "--s")):
        # A resumed run may have test batches or other metrics in later epochs only.
        values: dict[float, list[float]] = {}
        for record in [record for history in group for record in history.epochs]:
            if f"{phase}_{metric}" in record:
                values.setdefault(record["epoch"], []).append(
                    record[f"{phase}_{metric}"]
                )
        if not values:
            continue
        epochs = sorted(values)
        axis.plot(
            epochs,
            [np.mean(values[epoch]) for epoch in epochs],
            style,
            color=pen.color,
            linewidth=pen.width,
            markersize=pen.width + 2,
            label=f"{name} {phase}".strip(),
        )
        if len(group) > 1:
            smallest = [min(values[epoch]) for epoch in epochs]
            largest = [max(values[epoch]) for epoch in epochs]
            axis.fill_between(epochs, smallest, largest, color=pen.color, alpha=0.15)


def _grouped(
    runs: Runs, caller: str, *, alone: bool = False
) -> dict[str, list[History]]:
    """Lists of histories by name; with `alone`, each value must be one history."""
    check_type(caller, "runs", runs, Mapping, "a dict of histories by name")
    if not runs:
        raise ValueError(f"{caller}: runs must hold a history, got none")
    grouped = {}
    for name, run in runs.items():
        # A `History` is a tuple.
        several = isinstance(run, list | tuple) and not isinstance(run, History)
        group: list[Any] = list(run) if several and not alone else [run]
        if not group:
            raise ValueError(f"{caller}: the run {name!r} must hold a history, got []")
        called = f"the history {name!r}" if name else "history"
        for history in group:
            fix = "read a file with train.load_history"
            check_type(caller, called, history, History, "a History", fix=fix)
            if not history.epochs:
                raise ValueError(f"{caller}: {called} must have an epoch, got none")
        grouped[name] = group
    return grouped


def _shared_metrics(runs: dict[str, list[History]], caller: str) -> list[str]:
    """The metrics that all runs have, the loss first."""
    sets = [
        {
            key.removeprefix("train_")
            for record in history.epochs
            for key in record
            if key.startswith("train_") and key != "train_seconds"
        }
        for group in runs.values()
        for history in group
    ]
    shared = set.intersection(*sets)
    if not shared:
        raise ValueError(
            f"{caller}: runs must have a metric in common, got "
            + " and ".join(", ".join(sorted(names)) or "none" for names in sets)
        )
    return sorted(shared, key=lambda metric: (metric != "loss", metric))


def _label(metric: str) -> str:
    return "loss (nats)" if metric == "loss" else metric.replace("_", " ")


def _pens(runs: dict[str, list[History]]) -> list[_Pen]:
    """A color for each run; lines get thinner, so that equal curves are all visible."""
    widths = [1.5 + 3 * i for i in reversed(range(len(runs)))]
    return [_Pen(COLORS[i % len(COLORS)], width) for i, width in enumerate(widths)]
