"""Layers that resize images by interpolation, channels last."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

import mlx.core as mx
import numpy as np

from lucid_fn.checks import (
    AXES,
    Sizes,
    check_array,
    check_axes,
    check_bool,
    check_count,
    check_float,
    check_size,
    to_number,
    to_sizes,
)
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.core.lift import lift
from lucid_fn.numerics import widen
from lucid_fn.ops.interpolate import CUBIC_A, Taps, cubic_far, cubic_near, interpolate
from lucid_fn.types import Array

Scale: TypeAlias = float | tuple[float, ...]


class _Axis(NamedTuple):
    """How one axis is resized."""

    inputs: int
    outputs: int
    scale: float | None  # as the user gave it


def upsample_nearest(
    scale: Scale | None = None,
    *,
    size: Sizes | None = None,
    exact: bool = False,
    dims: int = 2,
) -> Layer:
    """Nearest-neighbour resizing: `(N, H, W, C)` to `(N, H', W', C)`.

    `H' = floor(scale * H)`, or `size`. Output `i` is the input at `floor(i / scale)`,
    where `scale` is `H' / H` if a size is given. As in PyTorch, an output of the size
    of the input is the input, and one of twice the size repeats every pixel. To match a
    given size, such as that of a skip connection, give `size`: `scale * H` is computed
    in floating point, so that 11 pixels at `scale=15 / 11` become 14.

    Args:
        scale: factor of the sizes, positive; one number for all axes.
        size: size of the output in pixels, instead of `scale`; one number for all axes.
        exact: whether to take the input at `floor((i + 1/2) / scale)`, whose center is
            nearest, as PyTorch's mode "nearest-exact".
        dims: number of spatial axes of the input: 1, 2 or 3.

    Raises:
        TypeError: if `scale` or `size` is not a number; on apply, if `x` is not an
            array of floats or integers.
        ValueError: unless exactly one of `scale` and `size` is given, or if an argument
            is out of range; on apply, if `x` has the wrong number of axes, or the
            output no pixels.

    Source: PyTorch's `torch.nn.Upsample`, modes nearest and nearest-exact.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> x = mx.array([1.0, 2.0]).reshape(1, 1, 2, 1)
        >>> nn.upsample_nearest(2).apply({}, {}, x, train=False)[0].squeeze()
        array([[1, 1, 2, 2],
               [1, 1, 2, 2]], dtype=float32)
    """
    check_bool("upsample_nearest", exact=exact)
    return _resize(
        "upsample_nearest", _nearest_exact if exact else _nearest, scale, size, dims
    )


def upsample_linear(
    scale: Scale | None = None,
    *,
    size: Sizes | None = None,
    align_corners: bool = False,
    antialias: bool = False,
    dims: int = 2,
) -> Layer:
    """Resizing by linear interpolation along each axis; with two axes, bilinear.

    Output `i` is the input at `(i + 1/2) / scale - 1/2`, where `scale` is `H' / H` if a
    size is given; or, with `align_corners`, at `i * (H - 1) / (H' - 1)`. Positions
    outside of the image are clipped to its border. Half precision is computed in
    float32.

    Args:
        scale: factor of the sizes, positive; one number for all axes.
        size: size of the output in pixels, instead of `scale`; one number for all axes.
        align_corners: whether the first and last output are the first and last input.
        antialias: whether a smaller output averages all inputs that each of its pixels
            covers, not only the nearest ones, as image libraries do.
        dims: number of spatial axes of the input: 1, 2 or 3.

    Raises:
        TypeError: if `scale` or `size` is not a number; on apply, if `x` is not of a
            float dtype.
        ValueError: as `upsample_nearest`.

    Source: PyTorch's `torch.nn.Upsample`, modes linear, bilinear and trilinear.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> x = mx.array([1.0, 2.0]).reshape(1, 2, 1)
        >>> layer = nn.upsample_linear(2, dims=1)
        >>> layer.apply({}, {}, x, train=False)[0].squeeze()
        array([1, 1.25, 1.75, 2], dtype=float32)
    """
    check_bool("upsample_linear", align_corners=align_corners, antialias=antialias)

    def taps(axis: _Axis) -> Taps:
        if antialias:
            return _antialiased(axis, align_corners, 1, lambda d: 1 - d)
        return _linear(axis, align_corners)

    return _resize("upsample_linear", taps, scale, size, dims)


def upsample_cubic(
    scale: Scale | None = None,
    *,
    size: Sizes | None = None,
    align_corners: bool = False,
    antialias: bool = False,
    dims: int = 2,
) -> Layer:
    """Resizing by cubic convolution along each axis; with two axes, bicubic.

    Each output is a weighted sum of the four inputs around its position, which is that
    of `upsample_linear`; beyond the image, those of its border are repeated. The result
    may exceed the range of the input.

    Args:
        scale: factor of the sizes, positive; one number for all axes.
        size: size of the output in pixels, instead of `scale`; one number for all axes.
        align_corners: whether the first and last output are the first and last input.
        antialias: whether a smaller output averages all inputs that each of its pixels
            covers, not only the nearest ones, as image libraries do.
        dims: number of spatial axes of the input: 1, 2 or 3.

    Raises:
        TypeError: as `upsample_linear`.
        ValueError: as `upsample_nearest`.

    Source: Keys, 1981, "Cubic convolution interpolation for digital image processing",
    with PyTorch's `a = -0.75`; -0.5 with `antialias`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> x = mx.array([0.0, 1.0]).reshape(1, 2, 1)
        >>> layer = nn.upsample_cubic(2, dims=1)
        >>> layer.apply({}, {}, x, train=False)[0].squeeze()
        array([-0.105469, 0.226562, 0.773438, 1.10547], dtype=float32)
    """
    check_bool("upsample_cubic", align_corners=align_corners, antialias=antialias)

    def taps(axis: _Axis) -> Taps:
        if antialias:
            kernel = partial(_cubic_kernel, _CUBIC_A_ANTIALIASED)
            return _antialiased(axis, align_corners, 2, kernel)
        return _cubic(axis, align_corners)

    return _resize("upsample_cubic", taps, scale, size, dims)


# The positions are computed in float32, as in PyTorch, so that they are rounded alike.


def _step(axis: _Axis, align_corners: bool = False) -> np.float32:
    """The distance between neighbouring outputs, in inputs."""
    if align_corners:  # 0 for a single output, which is at the border as in PyTorch
        inputs = axis.inputs - 1 if axis.outputs > 1 else 0
        return np.float32(inputs) / np.float32(max(axis.outputs - 1, 1))
    if axis.scale is not None:
        return np.float32(1 / axis.scale)
    return np.float32(axis.inputs) / np.float32(axis.outputs)


def _positions(axis: _Axis, align_corners: bool) -> np.ndarray:
    """The position of each output among the inputs."""
    i, step = np.arange(axis.outputs, dtype=np.float32), _step(axis, align_corners)
    half = np.float32(0.5)
    return i * step if align_corners else (i + half) * step - half


def _nearest(axis: _Axis) -> Taps:
    i = np.arange(axis.outputs)
    if axis.outputs in (axis.inputs, 2 * axis.inputs):
        return Taps((i // (axis.outputs // axis.inputs))[None], None)
    at = (i.astype(np.float32) * _step(axis)).astype(np.int64)
    return Taps(np.minimum(at, axis.inputs - 1)[None], None)


def _nearest_exact(axis: _Axis) -> Taps:
    middle = np.arange(axis.outputs, dtype=np.float32) + np.float32(0.5)
    at = (middle * _step(axis)).astype(np.int64)
    return Taps(np.minimum(at, axis.inputs - 1)[None], None)


def _linear(axis: _Axis, align_corners: bool) -> Taps:
    if axis.inputs == axis.outputs:
        return Taps(np.arange(axis.inputs)[None], None)
    at = np.maximum(_positions(axis, align_corners), 0)
    below = np.minimum(at.astype(np.int64), axis.inputs - 1)
    share = np.clip(at - below.astype(np.float32), 0, 1)
    above = np.minimum(below + 1, axis.inputs - 1)
    return Taps(np.stack([below, above]), np.stack([1 - share, share]))


_CUBIC_A_ANTIALIASED = -0.5  # PyTorch's


def _cubic_kernel(a: float, d: np.ndarray) -> np.ndarray:
    """The weight of an input at a distance of at most 2."""
    weight: np.ndarray = np.where(d <= 1, cubic_near(d, a), cubic_far(d, a))
    return weight.astype(np.float32)


def _cubic(axis: _Axis, align_corners: bool) -> Taps:
    at = _positions(axis, align_corners)
    below = np.floor(at)
    distance = np.abs(at - below - np.arange(-1, 3, dtype=np.float32)[:, None])
    index = below.astype(np.int64) + np.arange(-1, 3)[:, None]
    return Taps(np.clip(index, 0, axis.inputs - 1), _cubic_kernel(CUBIC_A, distance))


def _antialiased(
    axis: _Axis,
    align_corners: bool,
    radius: int,
    kernel: Callable[[np.ndarray], np.ndarray],
) -> Taps:
    """Taps of a kernel of this radius, stretched by `H / H'` if the output is smaller.

    Inputs outside of the image have no weight; the weights of the others sum to 1.
    """
    if axis.inputs == axis.outputs:
        return Taps(np.arange(axis.inputs)[None], None)
    step, half = _step(axis, align_corners), np.float32(0.5)
    stretch = max(step, np.float32(1))
    center = step * (np.arange(axis.outputs, dtype=np.float32) + half)
    reach = radius * stretch
    first = np.maximum((center - reach + half).astype(np.int64), 0)
    last = np.minimum((center + reach + half).astype(np.int64), axis.inputs) - 1
    index = first + np.arange((last - first).max() + 1)[:, None]
    distance = np.abs((index.astype(np.float32) - center + half) / stretch)
    under = (index <= last) & (distance < radius)
    weight = np.where(under, kernel(distance), np.float32(0))
    return Taps(np.minimum(index, last), weight / weight.sum(axis=0))


def _resize(
    caller: str,
    taps: Callable[[_Axis], Taps],
    scale: Scale | None,
    size: Sizes | None,
    dims: int,
) -> Layer:
    dims = check_count(caller, "dims", dims, kinds="1, 2 or 3")
    if dims not in AXES:
        raise ValueError(f"{caller}: dims must be 1, 2 or 3, got {dims}")
    if (scale is None) == (size is None):
        raise ValueError(
            f"{caller}: one of scale and size must be given, got scale={scale} and "
            f"size={size}"
        )
    scales = (None,) * dims if scale is None else _to_scales(caller, scale, dims)
    sizes = (
        None if size is None else to_sizes(caller, "size", size, dims=dims, at_least=1)
    )

    def forward(x: Array) -> Array:
        _check_input(caller, x, dims)
        axes = [
            _Axis(n, math.floor(n * (s or 1)) if sizes is None else sizes[i], s)
            for i, (n, s) in enumerate(zip(x.shape[1:-1], scales, strict=True))
        ]
        if any(axis.outputs < 1 for axis in axes):
            raise ValueError(
                f"{caller}: scale must leave a pixel, got {scales} for x of shape "
                f"{x.shape}"
            )
        shape = (x.shape[0], *(axis.outputs for axis in axes), x.shape[-1])
        check_size(caller, "scale" if sizes is None else "size", shape)
        y = widen(x) if mx.issubdtype(x.dtype, mx.floating) else x
        for number, axis in enumerate(axes, start=1):
            y = _resize_axis(y, number, axis, taps(axis))
        return y.astype(x.dtype)

    return lift(forward, examplewise=True)


def _resize_axis(x: Array, number: int, axis: _Axis, taps: Taps) -> Array:
    if taps.weight is None and axis.outputs % axis.inputs == 0:
        times = axis.outputs // axis.inputs
        if np.array_equal(taps.inputs[0], np.arange(axis.outputs) // times):
            # The gradient of `repeat` is a sum over neighbours.
            return x if times == 1 else mx.repeat(x, times, axis=number)
    return interpolate(x, number, taps)


def _to_scales(caller: str, scale: Scale, dims: int) -> tuple[float, ...]:
    scales = tuple(scale) if isinstance(scale, tuple | list) else (scale,) * dims
    scales = tuple(to_number(caller, "scale", one) for one in scales)
    if len(scales) != dims or not all(0 < one < math.inf for one in scales):
        raise ValueError(
            f"{caller}: scale must be a positive number, or {dims} of them, got {scale}"
        )
    return tuple(map(float, scales))


def _check_input(caller: str, x: Array, dims: int) -> None:
    check_array(caller, x=x)
    if caller != "upsample_nearest" or not mx.issubdtype(x.dtype, mx.integer):
        check_float(caller, x=x)
    check_axes(caller, x, dims, least=1)
