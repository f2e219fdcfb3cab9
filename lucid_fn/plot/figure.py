"""Figures of matplotlib, drawn without a screen."""

from pathlib import Path
from typing import Any

from lucid_fn import io

COLORS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple")


def new_figure(width: float, height: float) -> Any:
    """An empty figure, in inches.

    Raises:
        ImportError: if matplotlib is not installed; the message says how to install it.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "lucid_fn.plot needs matplotlib: pip install 'lucid-fn[examples]'"
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def stacked_panels(
    count: int, title: str, *, share_x: bool = True
) -> tuple[Any, list[Any]]:
    """A figure of panels above each other."""
    figure = new_figure(7, 3.2 * count)
    axes = figure.subplots(count, 1, sharex=share_x, squeeze=False)[:, 0]
    if title:
        axes[0].set_title(title)
    return figure, list(axes)


def whole_ticks(axis: Any) -> None:
    """Marks whole numbers only, as epochs are."""
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def save(figure: Any, path: str | Path, caller: str) -> None:
    """Writes a figure in the format that the suffix of `path` names.

    Raises:
        TypeError: if `path` is not a path.
        ValueError: if matplotlib does not know the format.
        OSError: if the file cannot be written.
    """
    figure.savefig(io.check_path(caller, "path", path), dpi=144)
