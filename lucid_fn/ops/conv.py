"""Two-dimensional convolution."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple, TypeAlias, cast

import mlx.core as mx

from lucid_fn.checks import (
    check_count,
    check_narrow_float,
    check_size,
    shape_error,
    to_sizes,
)
from lucid_fn.ops.bias import add_bias
from lucid_fn.ops.conv_plain import PLAIN, TAPS, Formulation, Geometry, Pair
from lucid_fn.ops.custom_derivative import Bilinear, bilinear
from lucid_fn.ops.seam import replaceable
from lucid_fn.types import Array

NamedPadding: TypeAlias = Literal["same", "valid"]
"""Paddings that depend on the kernel, or are none."""


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
            a pair of pairs ((top, bottom), (left, right)). `"same"` gives an output of
            the size of `x`, for a stride of 1, and `"valid"` is 0.
        dilation: pixels from one tap of the kernel to the next, positive.
        groups: number of groups into which input and output channels are split; a
            group of outputs sees its group of inputs. `groups = C` is depthwise.

    Returns:
        Float array of shape `(N, OH, OW, O)` with
        `OH = (H + padding - dilation * (KH - 1) - 1) // stride + 1`, `padding` summed
        over both sides; of the dtype that `x`, `weight` and `bias` promote to.

    Raises:
        TypeError: if `x`, `weight` or `bias` is not float32, float16 or bfloat16.
        ValueError: if a shape does not fit, or stride, padding, dilation or groups is
            out of range.

    Source: for the formulations see `lucid_fn.cpu.conv.winograd` and its neighbours.

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
        geometry: what the convolution is besides its arrays.
        choose: from the batch's size, the output's and the input's channels to the
            formulation that computes it.
        taps: the formulation that MLX can vectorize; it computes empty batches too, at
            which MLX's own kernel divides by zero.
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
    """For each axis the zeros before and after it that "same" or "valid" stands for."""
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
