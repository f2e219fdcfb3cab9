"""Layers that enlarge images by interpolation, channels last."""

import math
from typing import TypeAlias

import mlx.core as mx
import numpy as np

from lucid_fn.checks import check_float
from lucid_fn.nn.checks import AXES
from lucid_fn.nn.layer import Layer, lift
from lucid_fn.ops.gather import take_places
from lucid_fn.ops.interpolation import interpolate
from lucid_fn.types import Array

Scale: TypeAlias = float | tuple[float, ...]


def upsample_nearest(scale: Scale, *, dims: int = 2) -> Layer:
    """Repeats pixels: `(N, H, W, C)` to `(N, floor(scale * H), floor(scale * W), C)`.

    Output `i` is the input at `floor(i / scale)`.

    Args:
        scale: factor of the sizes, positive; one number for all axes.
        dims: spatial axes of the input: 1, 2 or 3.

    Raises:
        ValueError: if `scale` or `dims` is out of range; on apply, if `x` has another
            number of axes, or the output no pixels.

    Source: PyTorch's `torch.nn.Upsample`, mode nearest.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> x = mx.array([1.0, 2.0]).reshape(1, 1, 2, 1)
        >>> nn.upsample_nearest(2).apply({}, {}, x, train=False)[0].squeeze()
        array([[1, 1, 2, 2],
               [1, 1, 2, 2]], dtype=float32)
    """
    factors = _to_factors("upsample_nearest", scale, dims)

    def forward(x: Array) -> Array:
        _check("upsample_nearest", x, factors)
        for axis, factor in enumerate(factors, start=1):
            if factor == int(factor):  # its gradient is a sum, not a scatter
                x = mx.repeat(x, int(factor), axis=axis)
            else:
                at = _outputs(x, axis, factor) * np.float32(1 / factor)
                last = x.shape[axis] - 1
                x = take_places(x, np.minimum(at.astype(int), last), axis)
        return x

    return lift(forward)


def upsample_linear(
    scale: Scale, *, align_corners: bool = False, dims: int = 2
) -> Layer:
    """Interpolates linearly along each axis; with two axes, "bilinear".

    Output `i` is the input at `(i + 1/2) / scale - 1/2`, or, with `align_corners`, at
    `i * (H - 1) / (H' - 1)` for `H' = floor(scale * H)` outputs; places outside are
    moved to the border.

    Args:
        scale: factor of the sizes, positive; one number for all axes.
        align_corners: whether the first and last output are the first and last input.
        dims: spatial axes of the input: 1, 2 or 3.

    Raises:
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
    factors = _to_factors("upsample_linear", scale, dims)

    def forward(x: Array) -> Array:
        _check("upsample_linear", x, factors)
        for axis, factor in enumerate(factors, start=1):
            x = _interpolate(x, axis, factor, align_corners)
        return x

    return lift(forward)


def _interpolate(x: Array, axis: int, factor: float, align_corners: bool) -> Array:
    """Linear interpolation along one axis."""
    last = x.shape[axis] - 1
    outputs = _outputs(x, axis, factor)
    if align_corners:
        at = outputs * (last / max(len(outputs) - 1, 1))
    else:
        at = (outputs + 0.5) / factor - 0.5
    return interpolate(x, axis, np.clip(at, 0, last))


def _outputs(x: Array, axis: int, factor: float) -> np.ndarray:
    """Numbers of the outputs along an axis."""
    return np.arange(math.floor(x.shape[axis] * factor), dtype=np.float32)


def _to_factors(caller: str, scale: Scale, dims: int) -> tuple[float, ...]:
    if dims not in AXES:
        raise ValueError(f"{caller}: dims must be 1, 2 or 3, got {dims}")
    factors = tuple(scale) if isinstance(scale, tuple | list) else (scale,) * dims
    if len(factors) != dims or not all(factor > 0 for factor in factors):
        raise ValueError(
            f"{caller}: scale must be a positive number, or {dims} of them, got {scale}"
        )
    return factors


def _check(caller: str, x: Array, factors: tuple[float, ...]) -> None:
    dims = len(factors)
    check_float(caller, x=x)
    if x.ndim != dims + 2:
        raise ValueError(
            f"{caller}: x must have shape (N, {AXES[dims]}, C), got {x.shape}"
        )
    if any(size * f < 1 for size, f in zip(x.shape[1:-1], factors, strict=True)):
        raise ValueError(
            f"{caller}: scale must leave a pixel, got {factors} for x of shape "
            f"{x.shape}"
        )
