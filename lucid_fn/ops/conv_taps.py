"""Convolution from shifted slices of the input, one for each tap of the kernel.

Made of operations that MLX can differentiate and vectorize any number of times, for any
stride, padding, dilation and number of groups. It serves grouped convolutions, for
which MLX's CPU kernel is a plain loop, and convolutions mapped over their weights.
"""

import math

import mlx.core as mx

from lucid_fn.ops.channel_sum import sum_rows
from lucid_fn.ops.conv_geometry import Geometry, Pair
from lucid_fn.ops.small_products import sum_of_products
from lucid_fn.types import Array


def forward(x: Array, weight: Array, geometry: Geometry) -> Array:
    """`(N, H, W, C)` and `(O, KH, KW, C/groups)` to `(N, OH, OW, O)`."""
    n, (oh, ow), c = x.shape[0], geometry.out, x.shape[-1]
    groups, o = geometry.groups, weight.shape[0]
    if groups == c:  # depthwise: no sum over channels, so no matrix product
        return _depthwise(taps(x, geometry), weight)
    columns = _columns(taps(x, geometry), groups)  # (G, N*OH*OW, KH*KW*C/G)
    kernel = weight.reshape(groups, o // groups, -1).transpose(0, 2, 1)
    y = columns @ kernel  # (G, N*OH*OW, O/G)
    return y.transpose(1, 0, 2).reshape(n, oh, ow, o)


def input_grad(g: Array, weight: Array, geometry: Geometry) -> Array:
    """The gradient of `forward` in `x`, `(N, H, W, C)`."""
    shape = (g.shape[0], *geometry.size, weight.shape[-1] * geometry.groups)
    x = mx.zeros(shape, g.dtype)
    return mx.vjp(lambda x: forward(x, weight, geometry), [x], [g])[1][0]


def weight_grad(x: Array, g: Array, geometry: Geometry) -> Array:
    """The gradient of `forward` in `weight`, `(O, KH, KW, C/groups)`."""
    n, o, groups = math.prod(g.shape[:-1]), g.shape[-1], geometry.groups
    shape = (o, *geometry.kernel, x.shape[-1] // groups)
    inputs = taps(x, geometry)
    if groups == x.shape[-1]:
        by_channel = g.reshape(n, groups, o // groups)
        grads = [
            sum_rows((tap.reshape(n, groups, 1) * by_channel).reshape(n, o))
            for tap in inputs
        ]
        return mx.stack(grads, axis=-1).reshape(shape)
    by_group = g.reshape(n, groups, o // groups).transpose(1, 0, 2)
    return sum_of_products(by_group, _columns(inputs, groups)).reshape(shape)


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
