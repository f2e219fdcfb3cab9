"""A grid of images."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lucid_fn.checks import check_count, shape_error
from lucid_fn.plot.figure import check_picture, new_figure, save

_MAX_IMAGES = 400  # more are too small to see


def images(
    images: Any,
    path: str | Path,
    *,
    columns: int | None = None,
    names: Sequence[Any] | None = None,
    title: str = "",
) -> None:
    """Plot images in a grid, row by row.

    Args:
        images: shape `(N, H, W, C)` with one or three channels, or `(N, H, W)`; at most
            400. Integers are in [0, 255]. Floats are scaled from the minimum (black) to
            the maximum (white) of all images, so normalized images need no conversion.
        path: the file to write, `.png`, `.pdf` or `.svg`, in an existing folder.
        columns: images in a row, at least 1; by default the grid is square.
        names: captions of the images, such as their labels.
        title: title of the plot.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError: if `images` has another shape, or the number of names is not that of
            images.
        OSError: if the file cannot be written.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from lucid_fn import plot
        >>> digits = np.random.default_rng(0).normal(size=(8, 28, 28, 1))
        >>> path = tempfile.mkdtemp() + "/digits.png"
        >>> plot.images(digits, path, columns=4, names=range(8))
    """
    path = check_picture("plot.images", path)
    pixels = _pixels(images)
    if names is not None and len(names) != len(pixels):
        raise ValueError(
            f"plot.images: names must be those of {len(pixels)} images, got "
            f"{len(names)}"
        )
    if columns is None:
        columns = math.ceil(math.sqrt(len(pixels)))
    columns = min(check_count("plot.images", "columns", columns), len(pixels))
    rows = math.ceil(len(pixels) / columns)
    height, width = pixels.shape[1:3]
    above = 0.25 if names is not None else 0.0  # inches
    figure = new_figure(columns, rows * (height / width + above) + 0.4 * bool(title))
    axes = figure.subplots(rows, columns, squeeze=False).reshape(-1)
    for axis in axes:
        axis.axis("off")
    for i, image in enumerate(pixels):
        axes[i].imshow(image, interpolation="nearest")
        if names is not None:
            axes[i].set_title(str(names[i]), fontsize=8)
    if title:
        figure.suptitle(title)
    save(figure, path, "plot.images")


def _pixels(images: Any) -> np.ndarray:
    """The images as RGB in [0, 1], `(N, H, W, 3)`."""
    given = np.array(images)
    pixels = given[..., None] if given.ndim == 3 else given
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3) or not pixels.size:
        raise shape_error(
            "plot.images", "images", given, "(N, H, W), (N, H, W, 1) or (N, H, W, 3)"
        )
    if len(pixels) > _MAX_IMAGES:
        raise ValueError(
            f"plot.images: images must be at most {_MAX_IMAGES}, got {len(pixels)}; "
            f"give images[:{_MAX_IMAGES}]"
        )
    if np.issubdtype(pixels.dtype, np.integer):
        scaled = np.clip(pixels / 255.0, 0.0, 1.0)
    else:
        pixels = np.nan_to_num(pixels.astype(np.float64), posinf=0.0, neginf=0.0)
        spread = pixels.max() - pixels.min()
        scaled = (pixels - pixels.min()) / (spread or 1.0)
    return np.broadcast_to(scaled, (*scaled.shape[:3], 3))
