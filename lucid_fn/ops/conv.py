"""Two-dimensional convolution, its plain formulations, and its derivatives."""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Literal, NamedTuple, TypeAlias, cast

import mlx.core as mx

from lucid_fn.checks import (
    check_count,
    check_narrow_float,
    check_size,
    shape_error,
    to_sizes,
)
from lucid_fn.numerics import sum_of_products, sum_rows
from lucid_fn.ops.bias import add_bias
from lucid_fn.ops.custom_derivative import Bilinear, bilinear
from lucid_fn.ops.seam import replaceable
from lucid_fn.types import Array

Pair = tuple[int, int]
NamedPadding: TypeAlias = Literal["same", "valid"]
"""Padding that keeps the size of the input, or none."""


class Geometry(NamedTuple):
    """The sizes and options of a convolution; hashable.

    Pairs are (vertical, horizontal); `padding` holds a pair (before, after) for each.
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
    # (gradient of y, in_channels, geometry) -> arrays from which both gradients start,
    # if they are passed as further arguments
    prepare: Callable[[Array, int, Geometry], list[Array]] | None = None


def conv2d(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: int | Pair = 1,
    padding: int | Pair | tuple[Pair, Pair] | NamedPadding = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> Array:
    """2D convolution: each output is a window of the input, weighted and summed.

    `y[n, i, j, o] = bias[o] + sum over k, l, c of weight[o, k, l, c] *
    x[n, stride * i + dilation * k - padding, stride * j + dilation * l - padding, c]`,
    with zeros outside of `x`: cross-correlation, as everywhere in deep learning.

    Derivatives of any order are convolutions too and as fast. Half-precision sums are
    accumulated in float32.

    Args:
        x: float, shape `(N, H, W, C)`.
        weight: float, shape `(O, KH, KW, C / groups)`.
        bias: float, shape `(O,)`, added to every pixel; none by default.
        stride: pixels from one window to the next, positive; a pair is (vertical,
            horizontal).
        padding: zeros around the image, at least 0; a pair is (vertical, horizontal),
            a pair of pairs ((top, bottom), (left, right)). `"same"`, for a stride of 1,
            keeps the size of `x`; `"valid"` is 0.
        dilation: pixels from one tap of the kernel to the next, positive.
        groups: number of groups into which input and output channels are split; each
            group of outputs depends on one group of inputs. `groups = C` is depthwise.

    Returns:
        Float array of shape `(N, OH, OW, O)` with
        `OH = (H + padding - dilation * (KH - 1) - 1) // stride + 1`, `padding` summed
        over both sides; of the dtype that `x`, `weight` and `bias` promote to.

    Raises:
        TypeError: if `x`, `weight` or `bias` is not float32, float16 or bfloat16.
        ValueError: if a shape does not fit, or stride, padding, dilation or groups is
            out of range.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> x, weight = mx.ones((1, 5, 5, 2)), mx.ones((4, 3, 3, 2))
        >>> ops.conv2d(x, weight, stride=2, padding=1)[0, :, :, 0]
        array([[8, 12, 8],
               [12, 18, 12],
               [8, 12, 8]], dtype=float32)
    """
    groups = check_count("conv2d", "groups", groups, at_least=None)
    _check_arrays(x, weight, bias, groups)
    kernel = weight.shape[1], weight.shape[2]
    stride = _pair("stride", stride, least=1)
    dilation = _pair("dilation", dilation, least=1)
    if isinstance(padding, str):
        vertical, horizontal = named_padding(
            "conv2d", padding, kernel, stride, dilation
        )
    else:
        vertical, horizontal = _paddings(padding)
    geometry = Geometry(
        size=(x.shape[1], x.shape[2]),
        kernel=kernel,
        stride=stride,
        padding=(vertical, horizontal),
        dilation=dilation,
        groups=groups,
    )
    if min(geometry.out) < 1:
        raise ValueError(
            "conv2d: kernel must fit into the padded input, got a kernel that spans "
            f"{geometry.extent} pixels and an input of {geometry.padded}; "
            "raise padding, or lower dilation or the kernel's size"
        )
    check_size("conv2d", "padding", (x.shape[0], *geometry.padded, x.shape[-1]))
    check_size("conv2d", "weight", (x.shape[0], *geometry.out, weight.shape[0]))
    if x.dtype != weight.dtype:
        dtype = mx.result_type(x, weight)
        x, weight = x.astype(dtype), weight.astype(dtype)
    y = convolve(x, weight, geometry)
    return y if bias is None else add_bias(y, bias)


@replaceable
def convolve(x: Array, weight: Array, geometry: Geometry) -> Array:
    """`(N, H, W, C)` and `(O, KH, KW, C/groups)` to `(N, OH, OW, O)`, of one dtype."""
    return _plain(geometry).forward(x, weight)


@lru_cache(maxsize=512)
def _plain(geometry: Geometry) -> "Convolution":
    return convolution(geometry, lambda *_: PLAIN, TAPS)


class Convolution(NamedTuple):
    """A convolution and its gradients, each the derivative of the other two."""

    forward: Bilinear  # (x, weight) -> y
    ordered: Bilinear  # the same, whose gradient of x waits for that of weight
    input_grad: Bilinear  # (gradient of y, weight) -> gradient of x
    weight_grad: Bilinear  # (x, gradient of y) -> gradient of weight


def convolution(
    geometry: Geometry,
    choose: Callable[[int, int, int], Formulation],
    taps: Formulation,
) -> Convolution:
    """The functions of a convolution, with derivatives of any order.

    Args:
        geometry: sizes and options of the convolution.
        choose: `(batch size, output channels, input channels) -> Formulation`.
        taps: the formulation that MLX can vectorize. It is used for empty batches too,
            for which MLX's own kernel divides by zero.
    """

    def chosen(batch: int, out_channels: int, in_channels: int) -> Formulation:
        return choose(batch, out_channels, in_channels) if batch else taps

    def forward(x: Array, weight: Array) -> Array:
        run = chosen(x.shape[0], weight.shape[0], weight.shape[-1]).forward
        return run(x, weight, geometry)

    def prepare(x: Array, weight: Array, g: Array) -> list[Array]:
        run = chosen(g.shape[0], weight.shape[0], weight.shape[-1]).prepare
        return [] if run is None else run(g, weight.shape[-1], geometry)

    def input_grad(g: Array, weight: Array, *prepared: Array) -> Array:
        run = chosen(g.shape[0], weight.shape[0], weight.shape[-1]).input_grad
        return run(g, weight, geometry, *prepared)

    def weight_grad(x: Array, g: Array, *prepared: Array) -> Array:
        channels = x.shape[-1] // geometry.groups
        run = chosen(x.shape[0], g.shape[-1], channels).weight_grad
        return run(x, g, geometry, *prepared)

    plain, ordered = (
        bilinear(
            forward,
            left_grad=lambda *arrays: functions.input_grad(*arrays),
            right_grad=lambda *arrays: functions.weight_grad(*arrays),
            mappable=lambda x, weight: taps.forward(x, weight, geometry),
            folds=True,
            merges=(0, 3) if geometry.groups == 1 else None,
            loops=True,
            right_first=right_first,
            prepare=prepare,
        )
        for right_first in (False, True)
    )
    functions = Convolution(
        forward=plain,
        ordered=ordered,
        input_grad=bilinear(
            input_grad,
            left_grad=lambda dx, weight: functions.forward(dx, weight),
            right_grad=lambda g, dx: functions.weight_grad(dx, g),
            mappable=lambda g, weight: taps.input_grad(g, weight, geometry),
            folds=True,
            loops=True,
        ),
        weight_grad=bilinear(
            weight_grad,
            left_grad=lambda dweight, g: functions.input_grad(g, dweight),
            right_grad=lambda x, dweight: functions.forward(x, dweight),
            mappable=lambda x, g: taps.weight_grad(x, g, geometry),
            folds=False,
            merges=(3, 0) if geometry.groups == 1 else None,
            loops=True,
        ),
    )
    return functions


def _check_arrays(x: Array, weight: Array, bias: Array | None, groups: int) -> None:
    arrays = {"x": x, "weight": weight} | ({} if bias is None else {"bias": bias})
    check_narrow_float("conv2d", **arrays)
    if weight.ndim != 4 or 0 in weight.shape:
        raise shape_error("conv2d", "weight", weight, "(O, KH, KW, C / groups)")
    out_channels, channels = weight.shape[0], weight.shape[-1] * groups
    if groups < 1 or out_channels % groups:
        raise ValueError(
            "conv2d: groups must be positive and divide the "
            f"{out_channels} output channels, got {groups}"
        )
    if x.ndim != 4 or x.shape[-1] != channels:
        raise shape_error("conv2d", "x", x, f"(N, H, W, {channels})", axes=4)
    if bias is not None and bias.shape != (out_channels,):
        raise shape_error("conv2d", "bias", bias, f"({out_channels},)")


def _pair(name: str, value: int | Pair, *, least: int) -> Pair:
    vertical, horizontal = to_sizes("conv2d", name, value, dims=2, at_least=least)
    return vertical, horizontal


def _paddings(padding: int | Pair | tuple[Pair, Pair]) -> tuple[Pair, Pair]:
    sides = padding if isinstance(padding, tuple | list) else (padding, padding)
    if not any(isinstance(side, tuple | list) for side in sides):
        vertical, horizontal = _pair("padding", cast(int | Pair, padding), least=0)
        return (vertical, vertical), (horizontal, horizontal)
    if len(sides) != 2:
        raise ValueError(
            "conv2d: padding must be an integer, a pair, or a pair of pairs "
            f"((top, bottom), (left, right)), got {padding}"
        )
    return _pair("padding", sides[0], least=0), _pair("padding", sides[1], least=0)


def named_padding(
    caller: str,
    padding: str,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> list[Pair]:
    """The zeros before and after each axis for the padding "same" or "valid"."""
    if padding not in ("same", "valid"):
        raise ValueError(
            f"{caller}: padding must be an integer of at least 0, {len(kernel)} of "
            f"them, 'same' or 'valid', got {padding!r}"
        )
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    if set(stride) != {1}:
        raise ValueError(
            f"{caller}: padding='same' needs a stride of 1, got {tuple(stride)}; give "
            "the padding as a number"
        )
    reach = [step * (taps - 1) for taps, step in zip(kernel, dilation, strict=True)]
    return [(total // 2, total - total // 2) for total in reach]


# ---- the plain formulations ----


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


def _input_grad(forward: ConvFn, g: Array, weight: Array, geometry: Geometry) -> Array:
    """The gradient of `forward` in `x`, `(N, H, W, C)`."""
    shape = (g.shape[0], *geometry.size, weight.shape[-1] * geometry.groups)
    x = mx.zeros(shape, g.dtype)
    return mx.vjp(lambda x: forward(x, weight, geometry), [x], [g])[1][0]


def taps_weight_grad(x: Array, g: Array, geometry: Geometry) -> Array:
    """The gradient of a convolution in `weight`, `(O, KH, KW, C/groups)`."""
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
    """The inputs at each position in the kernel, arrays `(N, OH, OW, C)`."""
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
    """Pads an image with zeros; negative padding crops it.

    It is padded first, since more may be cropped on one side than there are pixels.
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


# MLX's own gradient of the weight is of a wrong shape for some dilated kernels, and
# fails in `vmap(grad)`, since it is a product with a strided view of x.
PLAIN = Formulation(
    plain_forward, partial(_input_grad, plain_forward), taps_weight_grad
)
"""MLX's own convolution: the reference, and the fastest on GPUs."""

TAPS = Formulation(taps_forward, partial(_input_grad, taps_forward), taps_weight_grad)
"""A sum over shifted slices of the input, one for each tap of the kernel.

It is made of operations that MLX can differentiate and vectorize any number of times,
for any stride, padding, dilation and number of groups. So it also serves where a
convolution is mapped over its weights, and for empty batches.
"""
