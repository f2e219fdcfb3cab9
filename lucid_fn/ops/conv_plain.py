"""Convolution as MLX does it: the reference, and the fast form on GPUs."""

import mlx.core as mx

from lucid_fn.ops import conv_taps
from lucid_fn.ops.conv_geometry import Geometry
from lucid_fn.types import Array


def forward(x: Array, weight: Array, geometry: Geometry) -> Array:
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


def input_grad(g: Array, weight: Array, geometry: Geometry) -> Array:
    """The gradient of `forward` in `x`, `(N, H, W, C)`."""
    shape = (g.shape[0], *geometry.size, weight.shape[-1] * geometry.groups)
    x = mx.zeros(shape, g.dtype)
    return mx.vjp(lambda x: forward(x, weight, geometry), [x], [g])[1][0]


def weight_grad(x: Array, g: Array, geometry: Geometry) -> Array:
    """The gradient of `forward` in `weight`, `(O, KH, KW, C/groups)`.

    MLX's own is of a wrong shape for some dilated kernels, and fails in `vmap(grad)`,
    since it is a product with a strided view of x.
    """
    return conv_taps.weight_grad(x, g, geometry)
