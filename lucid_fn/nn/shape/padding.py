"""Padding of sequences, images and volumes, channels last.

`padding` is a number for all sides of all spatial axes, or a sequence with an item for
each of these axes: a number for both of its sides, or a pair (before, after).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import mlx.core as mx

from lucid_fn.checks import check_array, check_size, shape_error, to_number, to_sizes
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.core.lift import lift
from lucid_fn.ops.interpolate import take_indices
from lucid_fn.types import Array

Border: TypeAlias = int | Sequence[int | tuple[int, int]]
Pads: TypeAlias = list[tuple[int, int]]  # (before, after) for each spatial axis


def constant_pad(padding: Border, *, value: float = 0.0) -> Layer:
    """Constant padding, `v v | a b c | v v`: `(N, ..., C)` with longer spatial axes.

    Args:
        padding: length of the padding: a number for all sides of all spatial axes, or
            for each of these axes a number or a pair (before, after).
        value: the value added.

    Raises:
        ValueError: if `padding` is negative; on apply, if `x` has no spatial axis, or
            not as many as `padding` has items.

    Source: `torch.nn.ZeroPad2d` and `ConstantPad2d`, which list the last axis first;
    here the order is that of the shape.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pad = nn.constant_pad((1, (0, 2)))
        >>> pad.apply({}, {}, mx.ones((2, 7, 7, 4)), train=False)[0].shape
        (2, 9, 9, 4)
    """
    value = to_number("constant_pad", "value", value)

    def pad(x: Array, pads: Pads) -> Array:
        width = [(0, 0), *pads, (0, 0)]
        return mx.pad(x, width, constant_values=mx.array(value, x.dtype))

    return _pad_layer("constant_pad", padding, pad)


def reflect_pad(padding: Border) -> Layer:
    """Reflection padding: `c b | a b c | b a`.

    Args:
        padding: as in `constant_pad`; less than the length of its axis.

    Raises:
        ValueError: as `constant_pad`; on apply, if an axis is too short.

    Source: `torch.nn.ReflectionPad2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> x = mx.array([1.0, 2.0, 3.0]).reshape(1, 3, 1)
        >>> nn.reflect_pad(2).apply({}, {}, x, train=False)[0].flatten().tolist()
        [3.0, 2.0, 1.0, 2.0, 3.0, 2.0, 1.0]
    """
    pad = partial(add_border, "reflect_pad", "reflect")
    return _pad_layer("reflect_pad", padding, pad)


def replicate_pad(padding: Border) -> Layer:
    """Replication padding: `a a | a b c | c c`.

    Args:
        padding: as in `constant_pad`.

    Raises:
        ValueError: as `constant_pad`; on apply, if an axis is empty.

    Source: `torch.nn.ReplicationPad2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> x = mx.array([1.0, 2.0, 3.0]).reshape(1, 3, 1)
        >>> nn.replicate_pad(1).apply({}, {}, x, train=False)[0].flatten().tolist()
        [1.0, 1.0, 2.0, 3.0, 3.0]
    """
    pad = partial(add_border, "replicate_pad", "replicate")
    return _pad_layer("replicate_pad", padding, pad)


def circular_pad(padding: Border) -> Layer:
    """Circular padding: `b c | a b c | a b`.

    Args:
        padding: as in `constant_pad`; at most the length of its axis.

    Raises:
        ValueError: as `constant_pad`; on apply, if an axis is too short.

    Source: `torch.nn.CircularPad2d`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> x = mx.array([1.0, 2.0, 3.0]).reshape(1, 3, 1)
        >>> nn.circular_pad(1).apply({}, {}, x, train=False)[0].flatten().tolist()
        [3.0, 1.0, 2.0, 3.0, 1.0]
    """
    pad = partial(add_border, "circular_pad", "circular")
    return _pad_layer("circular_pad", padding, pad)


def add_border(caller: str, mode: str, x: Array, pads: Pads) -> Array:
    """`x`, padded along each spatial axis with zeros or with its own values.

    Args:
        caller: public function that errors name.
        mode: `"zeros"`, or one of `BORDER_INDICES`.
        x: channels last.
        pads: for each spatial axis the length of the padding before and after.
    """
    if mode == "zeros":
        return mx.pad(x, [(0, 0), *pads, (0, 0)])
    for axis, pair in enumerate(pads, start=1):
        if any(pair):
            indices = BORDER_INDICES[mode](caller, x.shape[axis], *pair)
            x = take_indices(x, indices, axis)
    return x


def _reflected(caller: str, length: int, before: int, after: int) -> list[int]:
    _check_length(caller, length, before, after, most=length - 1)
    last = length - 1
    return [last - abs(last - abs(i)) for i in range(-before, length + after)]


def _replicated(caller: str, length: int, before: int, after: int) -> list[int]:
    if length == 0:
        raise ValueError(f"{caller}: x must have an edge, got an empty axis")
    return [0] * before + list(range(length)) + [length - 1] * after


def _wrapped(caller: str, length: int, before: int, after: int) -> list[int]:
    _check_length(caller, length, before, after, most=length)
    return [i % length for i in range(-before, length + after)]


BORDER_INDICES = {
    "reflect": _reflected,
    "replicate": _replicated,
    "circular": _wrapped,
}
"""For each mode, the function that gives the indices of the padded axis in the old."""


def _pad_layer(
    caller: str, padding: Border, pad: Callable[[Array, Pads], Array]
) -> Layer:
    by_axis, for_all = [], None
    if isinstance(padding, Sequence):
        by_axis = [_pair(caller, side) for side in padding]
    else:
        for_all = _pair(caller, padding)

    def forward(x: Array) -> Array:
        check_array(caller, x=x)
        axes = x.ndim - 2
        if axes < 1 or (for_all is None and axes != len(by_axis)):
            wanted = "spatial axes" if for_all else f"{len(by_axis)} spatial axes"
            raise shape_error(caller, "x", x, f"(N, ..., C) with {wanted}")
        pads = [for_all] * axes if for_all else by_axis
        padded = (n + sum(pair) for n, pair in zip(x.shape[1:-1], pads, strict=True))
        check_size(caller, "padding", (x.shape[0], *padded, x.shape[-1]))
        return pad(x, pads)

    return lift(forward, examplewise=True)


def _pair(caller: str, side: int | tuple[int, int]) -> tuple[int, int]:
    before, after = to_sizes(caller, "padding", side, dims=2, at_least=0)
    return before, after


def _check_length(caller: str, length: int, before: int, after: int, most: int) -> None:
    if max(before, after) > most:
        raise ValueError(
            f"{caller}: padding must be at most {most} for an axis of length {length}, "
            f"got {before} and {after}"
        )
