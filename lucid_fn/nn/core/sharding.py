"""Params that are divided among the processes of a group."""

from collections.abc import Iterator
from typing import NamedTuple

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.distributed.group import Group
from lucid_fn.nn.core.layer import Layer
from lucid_fn.types import Array, Params


class Cut(NamedTuple):
    """How an array is divided: each rank has a slice of each of its blocks."""

    shape: tuple[int, ...]  # of the whole
    axis: int
    blocks: int = 1  # equal parts of the axis, such as query, key and value

    def part_shape(self, size: int) -> tuple[int, ...]:
        """The shape of what each of `size` ranks has."""
        shape = list(self.shape)
        shape[self.axis] //= size
        return tuple(shape)

    def part(self, x: Array, rank: int, size: int) -> Array:
        """The part that a rank has of the whole `x`."""
        x = mx.unflatten(x, self.axis, (self.blocks, size, -1))
        part = mx.take(x, rank, axis=self.axis + 1)  # (..., blocks, n, ...)
        return mx.contiguous(mx.flatten(part, self.axis, self.axis + 1))

    def whole(self, parts: Array) -> Array:
        """The whole, from the parts `(size, ...)` of all ranks."""
        x = mx.unflatten(parts, self.axis + 1, (self.blocks, -1))
        x = mx.moveaxis(x, 0, self.axis + 1)  # (..., blocks, size, n, ...)
        return mx.flatten(x, self.axis, self.axis + 2)


class Cuts(NamedTuple):
    """The divided params of a layer, by path, and the group that has them."""

    group: Group
    cuts: dict[str, Cut]


def sharded(layer: Layer, group: Group, cuts: dict[str, Cut]) -> Layer:
    """Marks the params at these paths as divided among the ranks."""
    layer.apply.cuts = Cuts(group, cuts)  # type: ignore[attr-defined]  # read below
    return layer


def parts_of(params: Params, group: Group, cuts: dict[str, Cut]) -> Params:
    """This rank's part of whole params."""

    if group.size == 1:
        return params

    def part(path: str, x: Array) -> Array:
        return cuts[path].part(x, group.rank, group.size) if path in cuts else x

    parts: Params = tree.map_with_path(part, params)
    return parts


def cuts_of(layer: Layer, prefix: str = "") -> Iterator[tuple[str, Cut, Group]]:
    """The divided params of a layer and of those inside of it, by path."""
    own: Cuts | None = getattr(layer.apply, "cuts", None)
    if own is not None:
        for path, cut in own.cuts.items():
            yield prefix + path, cut, own.group
    for name, child in getattr(layer.apply, "children", {}).items():
        yield from cuts_of(child, f"{prefix}{name}.")
    wrapped: Layer | None = getattr(layer.apply, "wrapped", None)
    if wrapped is not None:
        yield from cuts_of(wrapped, prefix)


def size_of_part(caller: str, name: str, whole: int, group: Group) -> int:
    """`whole / group.size`, which must be an integer."""
    if whole % group.size:
        raise ValueError(
            f"{caller}: {name} must be a multiple of the number of processes, got "
            f"{whole} and {group.size}"
        )
    return whole // group.size
