"""Norms of the gradients of each layer."""

from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from lucid_fn import tree
from lucid_fn.plot.figure import COLORS, check_picture, new_figure, save
from lucid_fn.types import Params


def gradients(
    grads: Params, path: str | Path, *, params: Params | None = None, title: str = ""
) -> None:
    """Plot the gradient norm of each layer as bars on a logarithmic scale.

    Vanishing and exploding gradients stand out as short and long bars. Norms that are
    zero or not finite are written as red text.

    Args:
        grads: the gradients, a tree like the params.
        path: the file to write, `.png`, `.pdf` or `.svg`, in an existing folder.
        params: if given, norms are relative to those of these params.
        title: title of the plot.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if `grads` is empty, or `params` has other layers.
        OSError: if the file cannot be written.

    Example:
        >>> import tempfile
        >>> import mlx.core as mx
        >>> from lucid_fn import plot
        >>> grads = {"fc1": {"weight": mx.ones(3)}, "fc2": {"weight": mx.ones(2) / 9}}
        >>> plot.gradients(grads, tempfile.mkdtemp() + "/gradients.png")
    """
    path = check_picture("plot.gradients", path)
    sizes = _norms(grads)
    if not sizes:
        raise ValueError("plot.gradients: grads must hold an array, got none")
    label = "norm of the gradient"
    if params is not None:
        theirs = _norms(params)
        if theirs.keys() != sizes.keys():
            raise ValueError(
                "plot.gradients: params must have the layers of grads, got "
                f"{', '.join(theirs)} and {', '.join(sizes)}"
            )
        sizes = {name: norm / (theirs[name] or 1.0) for name, norm in sizes.items()}
        label += ", relative to that of the params"
    figure = new_figure(7, 1.2 + 0.25 * len(sizes))
    axis = figure.subplots()
    _draw_bars(axis, sizes)
    axis.set_xlabel(label)
    axis.set_title(title)
    save(figure, path, "plot.gradients")


def _draw_bars(axis: Any, sizes: dict[str, float]) -> None:
    finite = [norm for norm in sizes.values() if 0 < norm < np.inf]
    least = min(finite, default=1.0) / 10
    lengths = [norm if 0 < norm < np.inf else least for norm in sizes.values()]
    axis.barh(list(sizes), lengths, color=COLORS[0])
    for row, norm in enumerate(sizes.values()):
        if not 0 < norm < np.inf:
            axis.text(least, row, f" {norm:g}", va="center", color="tab:red")
    axis.set_xscale("log")
    axis.set_xlim(left=least)
    axis.margins(y=0.01)
    axis.invert_yaxis()  # the first layer on top


def _norms(values: Params) -> dict[str, float]:
    """The norm of the arrays of each layer, by its path."""
    squares: dict[str, Any] = {}
    for path, leaf in tree.named_leaves(values).items():
        layer = path.rpartition(".")[0] or path
        square = np.square(np.array(leaf.astype(mx.float32), np.float64)).sum()
        squares[layer] = squares.get(layer, 0.0) + square
    return {layer: float(np.sqrt(total)) for layer, total in squares.items()}
