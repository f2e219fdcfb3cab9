"""Params that are sharded over the processes of a group."""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.distributed.group import Group
from lucid_fn.nn.core.layer import Layer
from lucid_fn.types import Array, Params


class ShardSpec(NamedTuple):
    """How an array is sharded: an equal slice of each block of `axis` for each rank."""

    shape: tuple[int, ...]  # of the whole array
    axis: int
    blocks: int = 1  # equal parts of the axis, such as query, key and value

    def shard_shape(self, size: int) -> tuple[int, ...]:
        """The shape of a shard in a group of `size` processes."""
        shape = list(self.shape)
        shape[self.axis] //= size
        return tuple(shape)

    def shard(self, x: Array, rank: int, size: int) -> Array:
        """The shard of the whole array `x` that belongs to a rank."""
        x = mx.unflatten(x, self.axis, (self.blocks, size, -1))
        shard = mx.take(x, rank, axis=self.axis + 1)  # (..., blocks, n, ...)
        return mx.contiguous(mx.flatten(shard, self.axis, self.axis + 1))

    def unshard(self, shards: Array) -> Array:
        """The whole array, from the shards `(size, ...)` of all ranks."""
        x = mx.unflatten(shards, self.axis + 1, (self.blocks, -1))
        x = mx.moveaxis(x, 0, self.axis + 1)  # (..., blocks, size, n, ...)
        return mx.flatten(x, self.axis, self.axis + 2)


ShardSpecs: TypeAlias = dict[str, ShardSpec]
"""The sharded params of a layer, by path."""


def sharded(layer: Layer, group: Group, specs: ShardSpecs) -> Layer:
    """Marks the params at the paths of `specs` as sharded over the group."""
    layer.apply.sharding = group, specs  # type: ignore[attr-defined]  # read below
    return layer


def shard_of_rank(params: Params, group: Group, specs: ShardSpecs) -> Params:
    """Whole params, with this rank's shard of those that are sharded."""
    if group.size == 1:
        return params

    def shard(path: str, x: Array) -> Array:
        return specs[path].shard(x, group.rank, group.size) if path in specs else x

    shards: Params = tree.map_with_path(shard, params)
    return shards


def shard_specs(
    layer: Layer, prefix: str = ""
) -> Iterator[tuple[str, ShardSpec, Group]]:
    """The sharded params of a layer and of its inner layers, by path."""
    if hasattr(layer.apply, "sharding"):
        group, specs = layer.apply.sharding
        for path, spec in specs.items():
            yield prefix + path, spec, group
    for name, child in getattr(layer.apply, "children", {}).items():
        yield from shard_specs(child, f"{prefix}{name}.")
    if hasattr(layer.apply, "wrapped"):
        yield from shard_specs(layer.apply.wrapped, prefix)


def shard_size(caller: str, name: str, whole: int, group: Group) -> int:
    """`whole / group.size`, which must be an integer."""
    if whole % group.size:
        raise ValueError(
            f"{caller}: {name} must be a multiple of the number of processes, got "
            f"{whole} and {group.size}"
        )
    return whole // group.size
