"""The plain formulations of a two-dimensional convolution, and its geometry.

`PLAIN` is MLX's own convolution: the reference, and the fast form on GPUs. `TAPS` is a
sum over shifted slices of the input, one for each tap of the kernel. It is made of
operations that MLX can differentiate and vectorize any number of times, for any stride,
padding, dilation and number of groups, so it also serves where a convolution is mapped
over its weights, and for empty batches.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import mlx.core as mx

from lucid_fn.numerics import sum_of_products, sum_rows
from lucid_fn.types import Array

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """What a convolution is besides its input and weight; hashable.

    Each pair is vertical, then horizontal; `padding` holds (before, after) pairs.
    """

    size: Pair
    kernel: Pair
    stride: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair
    groups: int

    @property
    def extent(self) -> Pair:
        """Pixels that a kernel spans, dilation included."""
        return (
            self.dilation[0] * (self.kernel[0] - 1) + 1,
            self.dilation[1] * (self.kernel[1] - 1) + 1,
        )

    @property
    def padded(self) -> Pair:
        """Size of the padded input."""
        return (
            self.size[0] + sum(self.padding[0]),
            self.size[1] + sum(self.padding[1]),
        )

    @property
    def out(self) -> Pair:
        """Size of the output."""
        return (
            (self.padded[0] - self.extent[0]) // self.stride[0] + 1,
            (self.padded[1] - self.extent[1]) // self.stride[1] + 1,
        )


ConvFn = Callable[..., Array]


class Formulation(NamedTuple):
    """A convolution `(x, weight) -> y` and its two gradients."""

    forward: ConvFn  # (x, weight, geometry) -> y
    input_grad: ConvFn  # (gradient of y, weight, geometry) -> gradient of x
    weight_grad: ConvFn  # (x, gradient of y, geometry) -> gradient of weight
    # (gradient of y, in_channels, geometry) -> arrays that both gradients start from,
    # which spares them their first half if they are given as further arguments
    prepare: Callable[[Array, int, Geometry], list[Array]] | None = None


def plain_forward(x: Array, weight: Array, geometry: Geometry) -> Array:
    """`(N, H, W, C)` and `(O, KH, KW, C/groups)` to `(N, OH, OW, O)`."""
    (top, bottom), (left, right) = geometry.padding
    return mx.conv_general(
        x,
        weight,
        stride=geometry.stride,
        padding=([top, left], [bottom, right]),
        kernel_dilation=geometry.dilation,
        groups=geometry.groups,
    )


def plain_input_grad(g: Array, weight: Array, geometry: Geometry) -> Array:
    """The gradient of `plain_forward` in `x`, `(N, H, W, C)`."""
    shape = (g.shape[0], *geometry.size, weight.shape[-1] * geometry.groups)
    x = mx.zeros(shape, g.dtype)
    return mx.vjp(lambda x: plain_forward(x, weight, geometry), [x], [g])[1][0]


def plain_weight_grad(x: Array, g: Array, geometry: Geometry) -> Array:
    """The gradient of `plain_forward` in `weight`, `(O, KH, KW, C/groups)`.

    MLX's own is of a wrong shape for some dilated kernels, and fails in `vmap(grad)`,
    since it is a product with a strided view of x.
    """
    return taps_weight_grad(x, g, geometry)


def taps_forward(x: Array, weight: Array, geometry: Geometry) -> Array:
    """`(N, H, W, C)` and `(O, KH, KW, C/groups)` to `(N, OH, OW, O)`."""
    n, (oh, ow), c = x.shape[0], geometry.out, x.shape[-1]
    groups, o = geometry.groups, weight.shape[0]
    if groups == c > 1:  # depthwise: no sum over channels, so no matrix product
        return _depthwise(taps(x, geometry), weight)
    columns = _columns(taps(x, geometry), groups)  # (G, N*OH*OW, KH*KW*C/G)
    kernel = weight.reshape(groups, o // groups, -1).transpose(0, 2, 1)
    y = columns @ kernel  # (G, N*OH*OW, O/G)
    return y.transpose(1, 0, 2).reshape(n, oh, ow, o)


def taps_input_grad(g: Array, weight: Array, geometry: Geometry) -> Array:
    """The gradient of `taps_forward` in `x`, `(N, H, W, C)`."""
    shape = (g.shape[0], *geometry.size, weight.shape[-1] * geometry.groups)
    x = mx.zeros(shape, g.dtype)
    return mx.vjp(lambda x: taps_forward(x, weight, geometry), [x], [g])[1][0]


def taps_weight_grad(x: Array, g: Array, geometry: Geometry) -> Array:
    """The gradient of `taps_forward` in `weight`, `(O, KH, KW, C/groups)`."""
    n, o, groups = math.prod(g.shape[:-1]), g.shape[-1], geometry.groups
    shape = (o, *geometry.kernel, x.shape[-1] // groups)
    inputs = taps(x, geometry)
    if groups == x.shape[-1] > 1:
        by_channel = g.reshape(n, groups, o // groups)
        grads = [
            sum_rows((tap.reshape(n, groups, 1) * by_channel).reshape(n, o))
            for tap in inputs
        ]
        return mx.stack(grads, axis=-1).reshape(shape).astype(g.dtype)
    by_group = g.reshape(n, groups, o // groups).transpose(1, 0, 2)
    products = sum_of_products(by_group, _columns(inputs, groups))
    return products.reshape(shape).astype(g.dtype)


def taps(x: Array, geometry: Geometry) -> list[Array]:
    """For each kernel position the inputs it meets, `(N, OH, OW, C)`."""
    (kh, kw), (sh, sw), (dh, dw) = geometry.kernel, geometry.stride, geometry.dilation
    oh, ow = geometry.out
    padded = pad(x, geometry.padding)
    rows, columns = sh * (oh - 1) + 1, sw * (ow - 1) + 1
    return [
        padded[:, i * dh : i * dh + rows : sh, j * dw : j * dw + columns : sw]
        for i in range(kh)
        for j in range(kw)
    ]


def pad(x: Array, padding: tuple[Pair, Pair]) -> Array:
    """Zeros around the image; where padding is negative, pixels are cut off.

    Zeros come first: more may be cut off one side than there are pixels.
    """
    (top, bottom), (left, right) = padding
    sides = [(max(low, 0), max(high, 0)) for low, high in padding]
    if any(map(any, sides)):
        x = mx.pad(x, [(0, 0), *sides, (0, 0)])
    h, w = x.shape[1] + min(bottom, 0), x.shape[2] + min(right, 0)
    return x[:, max(-top, 0) : h, max(-left, 0) : w]


def _columns(inputs: list[Array], groups: int) -> Array:
    if groups == 1:
        rows = mx.concatenate(inputs, axis=-1)
        return rows.reshape(1, -1, rows.shape[-1])
    stacked = mx.stack(
        [tap.reshape(-1, groups, tap.shape[-1] // groups) for tap in inputs]
    )
    k, m, _, c = stacked.shape
    return stacked.transpose(2, 1, 0, 3).reshape(groups, m, k * c)


def _depthwise(inputs: list[Array], weight: Array) -> Array:
    n, oh, ow, c = inputs[0].shape
    kernels = weight.reshape(c, -1, len(inputs))  # (C, O/C, KH*KW)
    total = inputs[0][..., None] * kernels[..., 0]  # (N, OH, OW, C, O/C)
    for position in range(1, len(inputs)):
        total = total + inputs[position][..., None] * kernels[..., position]
    return total.reshape(n, oh, ow, len(weight))


PLAIN = Formulation(plain_forward, plain_input_grad, plain_weight_grad)
TAPS = Formulation(taps_forward, taps_input_grad, taps_weight_grad)
