"""Sampling of images and volumes at arbitrary points, as in spatial transformers."""

import operator
from functools import reduce
from itertools import product
from typing import Literal, NamedTuple

import mlx.core as mx
import numpy as np

from lucid_fn.checks import (
    Sizes,
    check_bool,
    check_choice,
    check_float,
    check_size,
    shape_error,
    to_sizes,
)
from lucid_fn.numerics import widen
from lucid_fn.ops.interpolate import cubic_far, cubic_near
from lucid_fn.types import Array


def grid_sample(
    x: Array,
    grid: Array,
    *,
    mode: Literal["bilinear", "nearest", "bicubic"] = "bilinear",
    padding_mode: Literal["zeros", "border", "reflection"] = "zeros",
    align_corners: bool = False,
) -> Array:
    """Samples an image or a volume at the points of a grid, by interpolation.

    A point has the coordinates (x, y) or (x, y, z), where -1 and 1 are the outer edges
    of the first and last pixel, or their centers with `align_corners`. Gradients flow
    to the image and, unless `mode` is `"nearest"`, to the grid.

    Args:
        x: float, shape `(N, H, W, C)` or `(N, D, H, W, C)`.
        grid: points, float, shape `(N, OH, OW, 2)` or `(N, OD, OH, OW, 3)`; nan is
            taken as -1.
        mode: `"bilinear"`, linear interpolation between the pixels around a point along
            each axis; `"nearest"`, the nearest pixel; or `"bicubic"`, cubic convolution
            of the four pixels around a point along each axis.
        padding_mode: the values outside of the image: `"zeros"`, `"border"`, the
            nearest pixel of the image, or `"reflection"`, the reflected image.
        align_corners: whether -1 and 1 are the centers of the pixels at the border.

    Returns:
        Array of shape `(N, OH, OW, C)`, or `(N, OD, OH, OW, C)`, and of the dtype of
        `x`.

    Raises:
        TypeError: if `x` or `grid` is not of a float dtype.
        ValueError: if a shape does not fit, `x` has no pixels, or `mode` or
            `padding_mode` is not one of those above.

    Source: Jaderberg et al., 2015, "Spatial transformer networks", eq. 3 and 5;
    `torch.nn.functional.grid_sample`; `"bicubic"` as in `nn.upsample_cubic`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x = mx.array([1.0, 3.0]).reshape(1, 1, 2, 1)
        >>> points = mx.array([[-0.5, 0.0], [0.0, 0.0]]).reshape(1, 1, 2, 2)
        >>> ops.grid_sample(x, points).flatten()
        array([1, 2], dtype=float32)
    """
    check_bool("grid_sample", align_corners=align_corners)
    _check(x, grid, mode, padding_mode)
    n, sizes, channels = x.shape[0], x.shape[1:-1], x.shape[-1]
    shape = (n, *grid.shape[1:-1], channels)
    check_size("grid_sample", "grid", shape)
    if 0 in shape:
        return mx.zeros(shape, x.dtype)
    grid = widen(grid)
    grid = mx.where(mx.isnan(grid), -1.0, grid).reshape(n, -1, len(sizes))
    # The last axis of x is that of the first coordinate.
    neighbours = _MODES[mode]
    corners = [
        neighbours(grid[..., -1 - axis], _Axis(size, padding_mode, align_corners))
        for axis, size in enumerate(sizes)
    ]  # (N, P) each
    rows = widen(x).reshape(-1, channels)
    terms = [_corner(rows, n, sizes, corner) for corner in product(*corners)]
    return reduce(operator.add, terms).astype(x.dtype).reshape(shape)


def affine_grid(theta: Array, size: Sizes, *, align_corners: bool = False) -> Array:
    """The sampling grids of affine maps, for `grid_sample`.

    `theta @ (x, y, 1)` for the coordinates `(x, y)` of each pixel.

    Args:
        theta: maps, float, shape `(N, 2, 3)` for images or `(N, 3, 4)` for volumes.
        size: size of the grid, (height, width) or (depth, height, width); one number
            is for all axes.
        align_corners: as for `grid_sample`, to which the same must be passed.

    Returns:
        Float array of shape `(N, H, W, 2)` or `(N, D, H, W, 3)`, of the dtype of
        `theta`.

    Raises:
        TypeError: if `theta` is not of a float dtype.
        ValueError: if `theta` has another shape, or `size` is out of range.

    Source: Jaderberg et al., 2015, "Spatial transformer networks", eq. 1;
    `torch.nn.functional.affine_grid`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> flipped = mx.array([[[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
        >>> x = mx.arange(4.0).reshape(1, 2, 2, 1)
        >>> ops.grid_sample(x, ops.affine_grid(flipped, (2, 2))).squeeze()
        array([[1, 0],
               [3, 2]], dtype=float32)
    """
    check_bool("affine_grid", align_corners=align_corners)
    check_float("affine_grid", theta=theta)
    if theta.shape[1:] not in ((2, 3), (3, 4)):
        raise shape_error("affine_grid", "theta", theta, "(N, 2, 3) or (N, 3, 4)")
    dims = theta.shape[1]
    sizes = to_sizes("affine_grid", "size", size, dims=dims, at_least=1)
    check_size("affine_grid", "size", (theta.shape[0], *sizes, dims + 1))
    axes = [_centers(length, align_corners) for length in sizes]
    *coordinates, ones = *reversed(np.meshgrid(*axes, indexing="ij")), np.ones(sizes)
    points = mx.array(np.stack([*coordinates, ones], -1).astype(np.float32))
    wide = widen(theta)
    # (H, W, 1, 3) * (N, 1, 1, 2, 3), summed over the last axis
    maps = wide.reshape(theta.shape[0], *[1] * dims, dims, dims + 1)
    return mx.sum(mx.expand_dims(points, -2) * maps, axis=-1).astype(theta.dtype)


def _centers(length: int, align_corners: bool) -> np.ndarray:
    """The coordinates of the pixels along an axis."""
    if length == 1:
        return np.zeros(1)
    end = 1.0 if align_corners else 1 - 1 / length
    return np.linspace(-end, end, length)


def _check(x: Array, grid: Array, mode: str, padding_mode: str) -> None:
    check_float("grid_sample", x=x, grid=grid)
    check_choice("grid_sample", "mode", mode, _MODES)
    borders = ("zeros", "border", "reflection")
    check_choice("grid_sample", "padding_mode", padding_mode, borders)
    if x.ndim not in (4, 5) or 0 in x.shape[1:-1]:
        raise shape_error(
            "grid_sample", "x", x, "(N, H, W, C) or (N, D, H, W, C) with a pixel"
        )
    dims = x.ndim - 2
    if grid.ndim != x.ndim or grid.shape[0] != x.shape[0] or grid.shape[-1] != dims:
        wanted = ", ".join(["N", *["OD", "OH", "OW"][-dims:]])
        raise ValueError(
            f"grid_sample: grid must have shape ({wanted}, {dims}) with N = "
            f"{x.shape[0]}, as x of shape {x.shape} has, got {grid.shape}"
        )


class _Axis(NamedTuple):
    """An axis of the image, with the rule for positions outside of it."""

    size: int
    padding_mode: str
    align_corners: bool

    def position(self, coordinate: Array) -> Array:
        """The position of a coordinate in pixels; the first pixel is at 0."""
        if self.align_corners:
            return (coordinate + 1) * ((self.size - 1) / 2)
        return (coordinate + 1) * (self.size / 2) - 0.5

    def inside(self, position: Array) -> Array:
        """The position that is sampled instead of one outside of the image."""
        if self.padding_mode == "zeros":  # bounded, so that indices do not overflow
            return mx.where(
                (position > -2) & (position < self.size + 1), position, -2.0
            )
        if self.padding_mode == "reflection":
            position = self._reflected(position)
        # At the border itself the gradient is 0, as in PyTorch.
        last = self.size - 1.0
        return mx.where(position <= 0, 0.0, mx.where(position >= last, last, position))

    def _reflected(self, position: Array) -> Array:
        """The reflection at the edges of the image, or at the outer pixels' centers."""
        low, span = (0.0, self.size - 1.0) if self.align_corners else (-0.5, self.size)
        if span == 0:
            return mx.zeros_like(position)
        position = mx.clip(position, -_FAR, _FAR)  # infinity has no reflection
        distance = mx.where(position < low, low - position, position - low)
        times = mx.stop_gradient(mx.floor(distance / span))
        rest = distance - times * span
        return low + mx.where(times % 2 == 0, rest, span - rest)


Neighbour = tuple[Array, Array | None]
"""The index of a pixel along an axis, as a float, and its weight; `None` is 1."""


def _linear(coordinate: Array, axis: _Axis) -> list[Neighbour]:
    position = axis.inside(axis.position(coordinate))
    below = mx.stop_gradient(mx.floor(position))
    fraction = position - below
    return [(below, 1 - fraction), (below + 1, fraction)]


def _nearest(coordinate: Array, axis: _Axis) -> list[Neighbour]:
    position = axis.inside(axis.position(coordinate))
    return [(mx.stop_gradient(mx.round(position)), None)]  # halves to even, as PyTorch


def _cubic(coordinate: Array, axis: _Axis) -> list[Neighbour]:
    position = axis.position(coordinate)
    far = _FAR if axis.padding_mode == "reflection" else 3  # all the same beyond
    position = mx.clip(position, -far, axis.size - 1 + far)
    below = mx.stop_gradient(mx.floor(position))
    fraction = position - below
    # Each of the four pixels is moved inside of the image, not the position.
    return [
        (mx.stop_gradient(axis.inside(below + step)), weight)
        for step, weight in zip(range(-1, 3), _cubic_weights(fraction), strict=True)
    ]


_FAR = 2.0**23  # from here on float32 has no fractions of pixels


def _cubic_weights(fraction: Array) -> list[Array]:
    """Weights of the four pixels around, from the fraction of the position."""
    near, far = cubic_near, cubic_far
    return [far(1 + fraction), near(fraction), near(1 - fraction), far(2 - fraction)]


_MODES = {"bilinear": _linear, "nearest": _nearest, "bicubic": _cubic}


def _corner(
    rows: Array, n: int, sizes: tuple[int, ...], corner: tuple[Neighbour, ...]
) -> Array:
    """The weighted pixels at one corner of each position, `(N, P, C)`; 0 outside."""
    index = mx.arange(n)[:, None]  # of images, then of rows, then of pixels
    inside: Array | None = None
    for (at, _), size in zip(corner, sizes, strict=True):
        fits = (at >= 0) & (at < size)
        inside = fits if inside is None else inside & fits
        index = index * size + mx.clip(at, 0, size - 1).astype(mx.int32)
    assert inside is not None  # there is an axis
    pixels = mx.take(rows, index, axis=0)  # (N, P, C)
    weights = [weight for _, weight in corner if weight is not None]
    weight = reduce(operator.mul, weights, inside.astype(rows.dtype))
    # Not a product with `inside`: pixels may be infinite or nan.
    return mx.where(inside[..., None], pixels * weight[..., None], 0.0)
