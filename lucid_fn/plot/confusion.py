"""Confusion matrices."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lucid_fn.plot.figure import check_picture, new_figure, save

_MAX_LABELLED = 20  # classes; with more, cells are too small for counts


def confusion(
    matrix: Any,
    path: str | Path,
    *,
    names: Sequence[str] | None = None,
    title: str = "",
) -> None:
    """Plot a confusion matrix, colored by the fraction of each label's row.

    Rare classes are therefore as visible as frequent ones. With up to 20 classes, the
    cells show the counts.

    Args:
        matrix: integer counts, shape `(C, C)`, with labels as rows and predictions as
            columns, as returned by `metrics.confusion_matrix`.
        path: the file to write, `.png`, `.pdf` or `.svg`, in an existing folder.
        names: names of the classes; their numbers by default.
        title: title of the plot.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if `matrix` is not square or has a negative count, or if the number
            of names is not that of classes.
        OSError: if the file cannot be written.

    Example:
        >>> import tempfile
        >>> import mlx.core as mx
        >>> from lucid_fn import plot
        >>> counts = mx.array([[8, 2], [1, 9]])
        >>> path = tempfile.mkdtemp() + "/confusion.png"
        >>> plot.confusion(counts, path, names=["cat", "dog"])
    """
    path = check_picture("plot.confusion", path)
    counts = np.array(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(
            f"plot.confusion: matrix must have shape (C, C), got {counts.shape}; see "
            "metrics.confusion_matrix"
        )
    if (counts < 0).any():
        raise ValueError(
            f"plot.confusion: matrix must hold counts, at least 0, got {counts.min()}"
        )
    size = len(counts)
    if names is not None and len(names) != size:
        raise ValueError(
            f"plot.confusion: names must be those of {size} classes, got {len(names)}"
        )
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = min(12.0, 2.5 + 0.5 * size)
    figure = new_figure(side + 0.5, side)
    axis = figure.subplots()
    picture = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axis, label="share of the class", shrink=0.8)
    if size <= _MAX_LABELLED:
        for (row, column), count in np.ndenumerate(counts):
            color = "white" if shares[row, column] > 0.5 else "black"
            axis.text(
                column, row, f"{count}", ha="center", va="center", color=color, size=8
            )
    if names is not None or size <= _MAX_LABELLED:
        shown = [str(i) for i in range(size)] if names is None else list(names)
        axis.set_xticks(range(size), shown, rotation=45 if names is not None else 0)
        axis.set_yticks(range(size), shown)
    axis.set_xlabel("prediction")
    axis.set_ylabel("label")
    axis.set_title(title)
    save(figure, path, "plot.confusion")
