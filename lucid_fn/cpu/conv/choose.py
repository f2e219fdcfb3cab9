"""Convolution on CPUs: the choice of the algorithm by the shape."""

from functools import lru_cache, wraps

import mlx.core as mx

from lucid_fn.cpu import runtime
from lucid_fn.cpu.conv import depthwise, im2col, toeplitz, winograd, winograd_strided
from lucid_fn.cpu.conv.grouped import by_groups
from lucid_fn.cpu.parallel.gradient_order import weight_grad_first
from lucid_fn.ops.conv import (
    TAPS,
    ConvFn,
    Convolution,
    Formulation,
    Geometry,
    convolution,
)
from lucid_fn.ops.custom_derivative import after
from lucid_fn.types import Array

_MIN_GROUP_SIZE = 1 << 12  # of the input of a group that is convolved separately
_LARGE = 1 << 19  # input size from which windows are computed again, not kept

DEPTHWISE = Formulation(depthwise.forward, depthwise.input_grad, depthwise.weight_grad)
IM2COL = Formulation(im2col.forward, im2col.input_grad, im2col.weight_grad)
TOEPLITZ = Formulation(toeplitz.forward, toeplitz.input_grad, toeplitz.weight_grad)
WINOGRAD = Formulation(
    winograd.forward, winograd.input_grad, winograd.weight_grad, winograd.prepare
)
WINOGRAD_STRIDED = Formulation(
    winograd_strided.forward, winograd_strided.input_grad, winograd_strided.weight_grad
)


def convolve(x: Array, weight: Array, geometry: Geometry) -> Array:
    """`ops.conv.convolve` by the fastest algorithm for its shape."""
    functions = _functions(geometry)
    run = functions.ordered if weight_grad_first(weight, x) else functions.forward
    return run(x, weight)


@lru_cache(maxsize=512)
def _functions(geometry: Geometry) -> Convolution:
    def chosen(batch: int, out_channels: int, in_channels: int) -> Formulation:
        return _in_float32(choose(geometry, batch, in_channels, out_channels))

    return convolution(geometry, chosen, _in_float32(TAPS))


@lru_cache(maxsize=16)
def _in_float32(formulation: Formulation) -> Formulation:
    """`formulation`, computing float16 and bfloat16 in float32."""

    def converted(function: ConvFn) -> ConvFn:
        @wraps(function)
        def run(a: Array, b: Array, geometry: Geometry, *prepared: Array) -> Array:
            a32, b32 = a.astype(mx.float32), b.astype(mx.float32)
            return function(a32, b32, geometry, *prepared).astype(a.dtype)

        return run

    def weight_grad(x: Array, g: Array, geometry: Geometry, *prepared: Array) -> Array:
        if x.size > _LARGE:
            # Otherwise `mx.compile` keeps the windows of x from `forward` until here,
            # which takes twice the memory and no less time.
            x = after(x, g)
        return converted(formulation.weight_grad)(x, g, geometry, *prepared)

    prepare = formulation.prepare
    return Formulation(
        converted(formulation.forward),
        converted(formulation.input_grad),
        weight_grad,
        prepare and (lambda g, *sizes: prepare(g.astype(mx.float32), *sizes)),
    )


def choose(
    geometry: Geometry, batch: int, in_channels: int, out_channels: int
) -> Formulation:
    """The fastest formulation, as measured on two cores with AVX-512."""
    if geometry.groups > 1:
        if in_channels == 1:
            return DEPTHWISE
        # TAPS are matrix products batched over groups: best for 1x1 kernels, which copy
        # no windows, and for small inputs, where overhead per group dominates.
        numbers = batch * geometry.size[0] * geometry.size[1] * in_channels
        whole = geometry.kernel == (1, 1) or numbers < _MIN_GROUP_SIZE
        return TAPS if whole else GROUPED
    few = min(in_channels, out_channels) < 16
    if in_channels < 16 and geometry.dilation[1] == 1:
        return TOEPLITZ
    if not few and _fills_tiles(geometry, batch):
        if _is(geometry, kernel=3, stride=1):
            return WINOGRAD
        if _is(geometry, kernel=4, stride=2):
            return WINOGRAD_STRIDED
    return IM2COL


GROUPED = by_groups(choose)


def _is(geometry: Geometry, *, kernel: int, stride: int) -> bool:
    square = geometry.kernel, geometry.stride, geometry.dilation
    return square == ((kernel, kernel), (stride, stride), (1, 1))


def _fills_tiles(geometry: Geometry, batch: int) -> bool:
    """Whether there are enough 4x4 tiles of outputs, and few of their pixels unused.

    For each pixel of a tile, Winograd's algorithm takes 2.25 multiplications instead of
    9; with the transforms it breaks even when half of the pixels are used. Transformed
    kernels are four times as large: from `least` pixels on that costs less than the
    products save, for any number of channels. Strided kernels need twice as many.
    """
    oh, ow = geometry.out
    tiles = -(-oh // 4) * -(-ow // 4)
    least = geometry.stride[0] * (512 if runtime.packs_small_products() else 256)
    return 2 * oh * ow > 16 * tiles and batch * oh * ow >= least
