"""Interpolation along an axis: each output is a weighted sum of a few inputs."""

import math
from typing import NamedTuple, cast

import mlx.core as mx
import numpy as np

from lucid_fn.cpu.memory.broadcast import multiply
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.seam import tuned
from lucid_fn.types import Array

# Of the input: zeros of the matrix are multiplied too. At 256 the gradient still takes
# 0.4 of the time of sums of rows, at 512 twice as long.
_MOST_PLACES = 256


class Taps(NamedTuple):
    """Which inputs each output is made of: NumPy arrays of shape `(taps, outputs)`."""

    inputs: np.ndarray
    weight: np.ndarray | None  # float32; `None` for a single tap of weight 1

    def transposed(self, size: int) -> "Taps":
        """Which outputs each of the `size` inputs goes to, filled up with weights 0."""
        taps, outputs = self.inputs.shape
        inputs = self.inputs.ravel()
        order = np.argsort(inputs, kind="stable")
        counts = np.bincount(inputs, minlength=size)
        ends = np.cumsum(counts)
        slot = np.arange(inputs.size) - np.repeat(ends - counts, counts)
        index = np.zeros((max(counts.max(initial=0), 1), size), np.int64)
        weight = np.zeros(index.shape, np.float32)
        at = slot, inputs[order]
        index[at] = np.tile(np.arange(outputs), taps)[order]
        weight[at] = 1 if self.weight is None else self.weight.ravel()[order]
        return Taps(index, weight)

    def matrix(self, size: int) -> Array:
        """The weights as a matrix `(size, outputs)`."""
        taps, outputs = self.inputs.shape
        matrix = np.zeros((size, outputs), np.float32)
        columns = np.broadcast_to(np.arange(outputs), (taps, outputs))
        weight = 1 if self.weight is None else self.weight
        np.add.at(matrix, (self.inputs, columns), weight)
        return mx.array(matrix)


def interpolate(x: Array, axis: int, taps: Taps) -> Array:
    """`y[i] = sum over t of weight[t, i] * x[inputs[t, i]]`, along an axis of `x`.

    Args:
        x: float32 or float64, any shape; of any dtype if there are no weights.
        axis: counted from the first, not negative.
        taps: of each output.

    Returns:
        Array of the dtype of `x` and of its shape, as long as there are outputs along
        the axis.

    Example:
        >>> import mlx.core as mx
        >>> import numpy as np
        >>> from lucid_fn.ops.interpolation import Taps, interpolate
        >>> halfway = Taps(np.array([[0], [1]]), np.full((2, 1), 0.5, np.float32))
        >>> interpolate(mx.array([1.0, 3.0]), 0, halfway)
        array([2], dtype=float32)
    """
    size, outputs = x.shape[axis], taps.inputs.shape[1]
    before, after = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    shape = (*x.shape[:axis], outputs, *x.shape[axis + 1 :])

    def run(x: Array) -> Array:
        if x.size == 0:
            return mx.zeros(shape, x.dtype)
        rows = x.reshape(before, size, after)
        # Neighbours, not a matrix product: a nan stays where it is.
        if taps.weight is None:
            return _take(rows, taps.inputs[0]).reshape(shape)
        terms = [
            multiply(_take(rows, index), mx.array(weight[:, None]).astype(x.dtype))
            for index, weight in zip(taps.inputs, taps.weight, strict=True)
        ]
        return sum(terms[1:], terms[0]).reshape(shape)

    if not mx.issubdtype(x.dtype, mx.floating):
        return run(x)
    custom = custom_function(run)

    @custom.vjp
    def vjp(x: Array, g: Array, _: Array) -> Array:
        # MLX's gradient of `take` adds number by number, 20 times as slow for images
        # of 32 pixels.
        if not tuned() or size > _MOST_PLACES or g.size == 0:
            return interpolate(g, axis, taps.transposed(size))
        matrix = taps.matrix(size).astype(g.dtype)
        return (matrix @ g.reshape(before, outputs, after)).reshape(x.shape)

    @custom.jvp
    def jvp(_: Array, dx: Array) -> Array:
        return interpolate(dx, axis, taps)

    return cast(Array, custom(x))


def _take(x: Array, index: np.ndarray) -> Array:
    """`(A, B, C)` to `(A, len(index), C)`."""
    # Along the first axis a row is one memcpy; along another MLX goes by numbers.
    rows = np.arange(x.shape[0])[:, None] * x.shape[1] + index
    y = mx.take(x.reshape(-1, x.shape[2]), mx.array(rows.reshape(-1)), axis=0)
    return y.reshape(x.shape[0], len(index), x.shape[2])
