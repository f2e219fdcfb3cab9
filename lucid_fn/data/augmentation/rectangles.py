"""Random rectangles, one for each image of a batch."""

import math
from typing import NamedTuple

import mlx.core as mx

from lucid_fn import random
from lucid_fn.types import Array, Key

_ATTEMPTS = 10
"""Candidates drawn for each image; the first that fits is used."""


class Rectangles(NamedTuple):
    """First row, first column, height and width, each `(N, 1)`, int32."""

    top: Array
    left: Array
    height: Array
    width: Array

    def masks(self, height: int, width: int) -> Array:
        """Masks `(N, H, W, 1)` of the pixels inside, for images of this size."""
        rows = between(mx.arange(height), self.top, self.height)  # (N, H)
        columns = between(mx.arange(width), self.left, self.width)  # (N, W)
        return mx.logical_and(rows[:, :, None, None], columns[:, None, :, None])


def between(x: Array, start: Array, size: Array | int) -> Array:
    """Whether integers are in `[start, start + size)`."""
    return mx.logical_and(x >= start, x < start + size)


def draw_shapes(
    key: Key, n: int, area: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> tuple[Array, Array]:
    """Draw the two sides of the candidates for each image, `(N, attempts)`.

    Their product is a fraction of `area`, uniform in `scale`; the quotient
    first / second is log-uniform in `ratio`.
    """
    area_key, ratio_key = random.split(key)
    shape = (n, _ATTEMPTS)
    areas = area * random.uniform(area_key, shape, low=scale[0], high=scale[1])
    low, high = map(math.log, ratio)
    root = mx.exp(random.uniform(ratio_key, shape, low=low, high=high) / 2)
    side = mx.sqrt(areas)
    first, second = mx.round(side * root), mx.round(side / root)
    return first.astype(mx.int32), second.astype(mx.int32)


def first_that_fits(
    heights: Array, widths: Array, fits: Array, otherwise: tuple[int, int]
) -> tuple[Array, Array]:
    """Height and width, `(N, 1)`, of the first candidate that fits, or `otherwise`."""
    first = mx.argmax(fits, axis=1, keepdims=True)  # (N, 1)
    some = mx.any(fits, axis=1, keepdims=True)
    height, width = (
        mx.where(some, mx.take_along_axis(sides, first, axis=1), mx.array(size))
        for sides, size in zip((heights, widths), otherwise, strict=True)
    )
    return height, width


def place(key: Key, height: Array, width: Array, image: tuple[int, int]) -> Rectangles:
    """Draw positions for rectangles of these sizes, `(N, 1)`, inside the image."""
    top_key, left_key = random.split(key)
    top, left = (
        random.randint(k, side.shape, high=size + 1 - side)
        for k, side, size in zip(
            (top_key, left_key), (height, width), image, strict=True
        )
    )
    return Rectangles(top, left, height, width)
