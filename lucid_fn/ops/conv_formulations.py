"""Which formulation a convolution runs in, by device and shape."""

from collections.abc import Callable
from typing import NamedTuple

from lucid_fn.ops import (
    conv_gemm,
    conv_plain,
    conv_taps,
    conv_toeplitz,
    winograd,
)
from lucid_fn.ops.conv_geometry import Geometry
from lucid_fn.types import Array

ConvFn = Callable[..., Array]


class Formulation(NamedTuple):
    """A convolution `(x, weight) -> y` and its two gradients."""

    forward: ConvFn  # (x, weight, geometry) -> y
    input_grad: ConvFn  # (gradient of y, weight, geometry) -> gradient of x
    weight_grad: ConvFn  # (x, gradient of y, geometry) -> gradient of weight
    # (gradient of y, in_channels, geometry) -> arrays that both gradients start from,
    # which spares them their first half if they are given as further arguments
    prepare: Callable[[Array, int, Geometry], list[Array]] | None = None


PLAIN = Formulation(conv_plain.forward, conv_plain.input_grad, conv_plain.weight_grad)
TAPS = Formulation(conv_taps.forward, conv_taps.input_grad, conv_taps.weight_grad)
GEMM = Formulation(conv_gemm.forward, conv_gemm.input_grad, conv_gemm.weight_grad)
TOEPLITZ = Formulation(
    conv_toeplitz.forward, conv_toeplitz.input_grad, conv_toeplitz.weight_grad
)
WINOGRAD = Formulation(
    winograd.forward, winograd.input_grad, winograd.weight_grad, winograd.prepare
)


def choose(
    geometry: Geometry, batch: int, in_channels: int, out_channels: int
) -> Formulation:
    """The fastest formulation on a CPU. Reasons: two cores, AVX-512."""
    few = min(in_channels, out_channels) < 16
    if geometry.groups > 1:
        # Matrix products batched over groups, or multiply-adds if depthwise: MLX has a
        # plain loop for these.
        return TAPS
    if in_channels < 16 and geometry.dilation[1] == 1:
        return TOEPLITZ
    if not few and _is_3x3(geometry) and _fills_tiles(geometry, batch):
        return WINOGRAD
    return GEMM


def _is_3x3(geometry: Geometry) -> bool:
    unit = (1, 1)
    return geometry.kernel == (3, 3) and geometry.stride == geometry.dilation == unit


def _fills_tiles(geometry: Geometry, batch: int) -> bool:
    """Whether there are enough 4x4 tiles of outputs, with little wasted in each.

    Winograd's products are 2.25 multiplications for each of the 9 of a direct sum, for
    every pixel of its tiles; with the transforms it breaks even at half-filled tiles.
    The transformed kernels are four times as large as the kernels: from about 40 tiles
    on that is less than what the products save, for any number of channels.
    """
    oh, ow = geometry.out
    tiles = -(-oh // 4) * -(-ow // 4)
    return 2 * oh * ow > 16 * tiles and batch * tiles >= 40
