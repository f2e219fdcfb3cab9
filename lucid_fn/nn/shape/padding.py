"""Layers that add a border to sequences, images and volumes, channels last.

`padding` is one number for all sides of all spatial axes, or for each of these axes a
number for both of its sides or a pair (before, after).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeAlias

import mlx.core as mx

from lucid_fn.checks import check_array, check_size, shape_error, to_number, to_sizes
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.core.lift import lift
from lucid_fn.ops.interpolate import take_places
from lucid_fn.types import Array

Border: TypeAlias = int | Sequence[int | tuple[int, int]]
Pairs: TypeAlias = list[tuple[int, int]]


def constant_pad(padding: Border, *, value: float = 0.0) -> Layer:
    """Constant padding, `v v | a b c | v v`: `(N, ..., C)` with longer spatial axes.

    Args:
        padding: numbers added on each side: one for all, or for each spatial axis one
            or a pair (before, after).
        value: what is added.

    Raises:
        ValueError: if `padding` is negative; on apply, if `x` has no spatial axis, or
            another number of them than `padding`.

    Source: `torch.nn.ZeroPad2d` and `ConstantPad2d`, whose order of sides begins with
    the last axis; here it is that of the shape.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> pad = nn.constant_pad((1, (0, 2)))
        >>> pad.apply({}, {}, mx.ones((2, 7, 7, 4)), train=False)[0].shape
        (2, 9, 9, 4)
    """

    value = to_number("constant_pad", "value", value)

    def widened(x: Array, pairs: Pairs) -> Array:
        width = [(0, 0), *pairs, (0, 0)]
        return mx.pad(x, width, constant_values=mx.array(value, x.dtype))

    return _padding("constant_pad", padding, widened)


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

    widened = partial(add_border, "reflect_pad", "reflect")
    return _padding("reflect_pad", padding, widened)


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

    widened = partial(add_border, "replicate_pad", "replicate")
    return _padding("replicate_pad", padding, widened)


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

    widened = partial(add_border, "circular_pad", "circular")
    return _padding("circular_pad", padding, widened)


def add_border(caller: str, mode: str, x: Array, pairs: Pairs) -> Array:
    """`x` with a border along each spatial axis, of zeros or of its own numbers.

    Args:
        caller: public function that errors name.
        mode: `"zeros"`, or one of `PLACES`.
        x: channels last.
        pairs: for each spatial axis the numbers added before and after.
    """
    if mode == "zeros":
        return mx.pad(x, [(0, 0), *pairs, (0, 0)])
    for axis, pair in enumerate(pairs, start=1):
        if any(pair):
            x = take_places(x, PLACES[mode](caller, x.shape[axis], *pair), axis)
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


PLACES = {"reflect": _reflected, "replicate": _replicated, "circular": _wrapped}
"""Of each mode, the places of the old axis whose numbers the new one has."""


def _padding(
    caller: str, padding: Border, widened: Callable[[Array, Pairs], Array]
) -> Layer:
    pairs, every = [], None
    if isinstance(padding, Sequence):
        pairs = [_pair(caller, side) for side in padding]
    else:
        every = _pair(caller, padding)

    def forward(x: Array) -> Array:
        check_array(caller, x=x)
        axes = x.ndim - 2
        if axes < 1 or (every is None and axes != len(pairs)):
            wanted = "spatial axes" if every else f"{len(pairs)} spatial axes"
            raise shape_error(caller, "x", x, f"(N, ..., C) with {wanted}")
        borders = [every] * axes if every else pairs
        padded = (n + sum(pair) for n, pair in zip(x.shape[1:-1], borders, strict=True))
        check_size(caller, "padding", (x.shape[0], *padded, x.shape[-1]))
        return widened(x, borders)

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
