"""Linear interpolation along an axis: each output is a weighted sum of a few inputs."""

import math
from collections.abc import Sequence
from typing import NamedTuple, TypeVar, cast

import mlx.core as mx
import numpy as np

from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.seam import replaceable
from lucid_fn.types import Array

Distances = TypeVar("Distances", Array, np.ndarray)

CUBIC_A = -0.75  # PyTorch's; of the cubic convolution of Keys, 1981


def cubic_near(d: Distances, a: float = CUBIC_A) -> Distances:
    """The weight of an input at a distance in [0, 1]."""
    weight: Distances = ((a + 2) * d - (a + 3)) * d * d + 1
    return weight


def cubic_far(d: Distances, a: float = CUBIC_A) -> Distances:
    """The weight of an input at a distance in [1, 2]."""
    weight: Distances = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return weight


class Taps(NamedTuple):
    """The inputs of each output and their weights, NumPy arrays `(taps, outputs)`."""

    inputs: np.ndarray
    weight: np.ndarray | None  # float32; `None` for a single tap of weight 1

    def transposed(self, size: int) -> "Taps":
        """The outputs of each of the `size` inputs, padded with weights of 0."""
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


def interpolate(x: Array, axis: int, taps: Taps) -> Array:
    """Linear interpolation, `y[i] = sum over t of weight[t, i] * x[inputs[t, i]]`.

    Args:
        x: float32 or float64, any shape; of any dtype if there are no weights.
        axis: the axis, not negative.
        taps: inputs and weights of each output.

    Returns:
        Array of the dtype and shape of `x`, except that the axis has one entry per
        output.

    Example:
        >>> import mlx.core as mx
        >>> import numpy as np
        >>> from lucid_fn.ops.interpolate import Taps, interpolate
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
        return combine(x.reshape(before, size, after), taps).reshape(shape)

    if not mx.issubdtype(x.dtype, mx.floating):
        return run(x)
    custom = custom_function(run)

    @custom.vjp
    def vjp(x: Array, g: Array, _: Array) -> Array:
        if g.size == 0:
            return mx.zeros_like(x)
        dx = combine_grad(g.reshape(before, outputs, after), taps, size)
        return dx.reshape(x.shape)

    @custom.jvp
    def jvp(_: Array, dx: Array) -> Array:
        return interpolate(dx, axis, taps)

    return cast(Array, custom(x))


@replaceable
def combine(x: Array, taps: Taps) -> Array:
    """The weighted sums along the middle axis: `(A, B, C)` to `(A, outputs, C)`."""
    # Not a matrix product, which would spread a nan to all outputs.
    terms = [mx.take(x, mx.array(index), axis=1) for index in taps.inputs]
    if taps.weight is None:
        return terms[0]
    weights = [mx.array(weight[:, None]).astype(x.dtype) for weight in taps.weight]
    return sum(map(mx.multiply, terms[1:], weights[1:]), terms[0] * weights[0])


@replaceable
def combine_grad(g: Array, taps: Taps, size: int) -> Array:
    """The gradient of `combine`: `(A, outputs, C)` to `(A, size, C)`.

    This is a gather too; MLX's gradient of `take` is a scatter, number by number.
    """
    return interpolate(g, 1, taps.transposed(size))


def take_indices(x: Array, indices: Sequence[int] | np.ndarray, axis: int) -> Array:
    """`mx.take` along an axis, for empty arrays too.

    The gradient of `mx.take` aborts the process if `x` is empty.
    """
    if x.size == 0:
        shape = list(x.shape)
        shape[axis] = len(indices)
        return mx.zeros(shape, x.dtype)
    return mx.take(x, mx.array(np.asarray(indices, np.int32)), axis=axis)
