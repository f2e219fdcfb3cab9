"""Convert arrays between our layout, channels last, and PyTorch's, channels first."""

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import nn
from lucid_fn.interop.flattening import Flattened, find_flattened
from lucid_fn.interop.probing import is_norm_param, leaves_of, weights_of
from lucid_fn.types import Array

_KERNELS = ("weight", "weight_v", "weight_g")
"""Names of kernels; `nn.weight_norm` splits them into direction and length."""


class Layout(NamedTuple):
    """The conversion of one of our arrays to PyTorch's layout."""

    axes: tuple[int, ...]  # our axes in PyTorch's order
    rows: int = 1  # channels, if axis 0 is a flattened feature map
    columns: int = 1  # the same for the last axis

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
    """Reorder an axis that is a flattened map from (H, W, C) to (C, H, W)."""
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
        maps = _declared(caller, leaves, flattened)
    given_axes = _checked_axes(caller, leaves, axes or {})
    map_ranks = {weight.ndim - 1 for weight in weights_of(params).values()}
    return {
        path: Layout(
            given_axes.get(path, _axes(path, leaves, map_ranks)),
            maps.rows.get(path, _channels_of_singular_vector(path, leaves)),
            maps.columns.get(path, 1),
        )
        for path, leaf in leaves.items()
    }


def _axes(
    path: str, leaves: Mapping[str, Array], map_ranks: Collection[int]
) -> tuple[int, ...]:
    """Our axes in PyTorch's order; `map_ranks` are the ranks of feature maps.

    A kernel `(out, ..., in)` is `(out, in, ...)` in PyTorch, and the weight of a norm
    over a whole feature map, `(..., C)` here, is `(C, ...)`.
    """
    ndim = leaves[path].ndim
    order = tuple(range(ndim))
    if is_norm_param(path, leaves):
        is_of_map = ndim >= 2 and ndim in map_ranks
        return (ndim - 1, *order[:-1]) if is_of_map else order
    if 3 <= ndim <= 5 and path.rpartition(".")[2] in _KERNELS:
        return (0, ndim - 1, *order[1:-1])
    return order


def _channels_of_singular_vector(path: str, leaves: Mapping[str, Array]) -> int:
    """The input channels of the kernel that this singular vector belongs to.

    The right singular vector of `nn.spectral_norm` is a flattened slice of the kernel:
    `(..., in)` here, `(in, ...)` in PyTorch. A transposed convolution is sliced by its
    last axis: `(in, ...)` in both.
    """
    layer, _, name = path.rpartition(".")
    dot = "." if layer else ""
    weight, u, v = (
        leaves.get(f"{layer}{dot}{n}") for n in ("weight", "weight_u", "weight_v")
    )
    if name != "weight_v" or weight is None or u is None or v is None:
        return 1
    matrix = weight.reshape(len(weight), -1)
    if weight.ndim < 3 or (u.shape, v.shape) != (matrix.shape[:1], matrix.shape[1:]):
        return 1
    # If inputs and outputs are equally many, sizes do not show which axis was sliced.
    image = matrix @ v
    is_sliced = mx.sum(image * u) > 0.5 * mx.sqrt(mx.sum(image * image))
    return weight.shape[-1] if is_sliced.item() else 1


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


def _declared(
    caller: str, leaves: Mapping[str, Array], flattened: Mapping[str, tuple[int, ...]]
) -> Flattened:
    """The flat axes according to the argument `flattened` of `from_state_dict`."""
    rows: dict[str, int] = {}
    columns: dict[str, int] = {}
    for path, shape in flattened.items():
        size = math.prod(shape)
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
                f"that the layer takes or makes, got {shape}, {size} features, for "
                f"{has or 'no such layer'}"
            )
        rows |= dict.fromkeys(counting, shape[-1])
    return Flattened(rows, columns)
