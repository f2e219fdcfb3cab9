"""How arrays are kept here and in PyTorch: channels last or first."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import nn
from lucid_fn.interop.flattening import Flattened, find_flattened
from lucid_fn.interop.probing import is_scale, leaves_of, weights_of
from lucid_fn.types import Array

_KERNELS = ("weight", "weight_v", "weight_g")
"""Names of the arrays of a kernel, in `nn.weight_norm` its length and direction."""


class Layout(NamedTuple):
    """What is done to one of our arrays to make it PyTorch's."""

    axes: tuple[int, ...]  # our axes in PyTorch's order
    rows: int = 1  # channels of the feature map that axis 0 is a flattening of
    columns: int = 1  # the same of the last axis

    def shape_in_torch(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(shape[axis] for axis in self.axes)

    def to_torch(self, array: Array) -> Array:
        array = _channels_first(array, 0, self.rows)
        array = _channels_first(array, -1, self.columns)
        return array.transpose(*self.axes) if array.ndim else array

    def from_torch(self, array: Array) -> Array:
        if array.ndim:
            inverse = sorted(range(array.ndim), key=self.axes.__getitem__)
            array = array.transpose(*inverse)
        array = _channels_last(array, 0, self.rows)
        return _channels_last(array, -1, self.columns)


def _channels_first(array: Array, axis: int, channels: int) -> Array:
    """An axis that is a map flattened as (H, W, C) in the order (C, H, W)."""
    return _reorder(array, axis, (-1, channels))


def _channels_last(array: Array, axis: int, channels: int) -> Array:
    """The inverse of `_channels_first`."""
    return _reorder(array, axis, (channels, -1))


def _reorder(array: Array, axis: int, parts: tuple[int, int]) -> Array:
    if 1 in parts:
        return array
    moved = mx.moveaxis(array, axis, 0)
    split = moved.reshape(*parts, *moved.shape[1:])
    joined = mx.swapaxes(split, 0, 1).reshape(moved.shape)
    return mx.moveaxis(joined, 0, axis)


def layouts(
    caller: str,
    model: nn.Layer,
    params: dict[str, Any],
    state: dict[str, Any],
    *,
    input_shape: tuple[int, ...] | None,
    flattened: Mapping[str, tuple[int, ...]] | None,
    axes: Mapping[str, tuple[int, ...]] | None,
) -> dict[str, Layout]:
    """The layout of every array of params and state, by its path."""
    leaves = leaves_of(params, state)
    if flattened is None:
        maps = find_flattened(caller, model, params, state, input_shape)
    else:
        maps = _given(caller, leaves, flattened)
    given_axes = _checked_axes(caller, leaves, axes or {})
    maps_of = {weight.ndim - 1 for weight in weights_of(params).values()}
    return {
        path: Layout(
            given_axes.get(path, _axes(path, leaves, maps_of)),
            maps.rows.get(path, 1),
            maps.columns.get(path, 1),
        )
        for path, leaf in leaves.items()
    }


def _axes(
    path: str, leaves: Mapping[str, Array], maps: Collection[int]
) -> tuple[int, ...]:
    """Our axes of an array in PyTorch's order; `maps` are the axes that maps have here.

    Weights `(out, ..., in)` of a convolution are `(out, in, ...)` in PyTorch, and what
    a norm has for each entry of a feature map, `(..., C)`, is `(C, ...)`.
    """
    ndim = leaves[path].ndim
    order = tuple(range(ndim))
    if is_scale(path, leaves):
        is_of_map = ndim >= 2 and ndim in maps
        return (ndim - 1, *order[:-1]) if is_of_map else order
    if 3 <= ndim <= 5 and path.rpartition(".")[2] in _KERNELS:
        return (0, ndim - 1, *order[1:-1])
    return order


def _checked_axes(
    caller: str, leaves: Mapping[str, Array], axes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    for path, order in axes.items():
        if path not in leaves:
            raise ValueError(
                f"{caller}: axes must name arrays of the model, got {path!r}; it has "
                + ", ".join(leaves)
            )
        if sorted(order) != list(range(leaves[path].ndim)):
            raise ValueError(
                f"{caller}: axes of {path} must be an order of its "
                f"{leaves[path].ndim} axes, got {order}"
            )
    return {path: tuple(order) for path, order in axes.items()}


def _given(
    caller: str, leaves: Mapping[str, Array], flattened: Mapping[str, tuple[int, ...]]
) -> Flattened:
    """What the caller says about layers that follow a flatten."""
    rows: dict[str, int] = {}
    columns: dict[str, int] = {}
    for path, shape in flattened.items():
        size = 1
        for length in shape:
            size *= length
        own = {p: leaf for p, leaf in leaves.items() if p.rpartition(".")[0] == path}
        taking = [
            p
            for p in (f"{path}.weight", f"{path}.weight_v")
            if p in own and own[p].ndim == 2 and own[p].shape[1] == size
        ]
        if taking:
            columns |= dict.fromkeys(taking, shape[-1])
            continue
        counting = [p for p, leaf in own.items() if leaf.shape[:1] == (size,)]
        if not counting:
            has = ", ".join(f"{p} {leaf.shape}" for p, leaf in own.items())
            raise ValueError(
                f"{caller}: flattened[{path!r}] must be the shape (H, W, C) of a map "
                f"that a layer of that path takes or makes, got {shape}, {size} in "
                f"all, for {has or 'no such layer'}"
            )
        rows |= dict.fromkeys(counting, shape[-1])
    return Flattened(rows, columns)
