"""Matplotlib figures that need no screen."""

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
    """A figure with panels stacked vertically."""
    figure = new_figure(7, 3.2 * count)
    axes = figure.subplots(count, 1, sharex=share_x, squeeze=False)[:, 0]
    if title:
        axes[0].set_title(title)
    return figure, list(axes)


def whole_ticks(axis: Any) -> None:
    """Put ticks at integers only."""
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(integer=True))


def check_picture(caller: str, path: str | Path) -> Path:
    """Check the path of a plot before it is drawn; the default suffix is `.png`.

    Raises:
        ImportError: if matplotlib is not installed.
        TypeError: if `path` is not a path.
        ValueError: if matplotlib does not know the format that the suffix names.
        OSError: if the file cannot be written.
    """
    path = io.check_path(caller, "path", path)
    path = path if path.suffix else path.with_name(f"{path.name}.png")
    if path.suffix[1:].lower() not in new_figure(1, 1).canvas.get_supported_filetypes():
        raise ValueError(
            f"{caller}: path must end in .png, .pdf or .svg, got {str(path)!r}"
        )
    io.check_writable(path, caller=caller)
    return path


def save(figure: Any, path: Path, caller: str) -> None:
    """Write a figure in the format named by the suffix of `path`."""
    with io.atomic_write(path, caller=caller) as file:
        figure.savefig(file, format=path.suffix[1:].lower(), dpi=144)
