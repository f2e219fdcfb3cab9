"""Grouped convolution, as a separate convolution for each group."""

from collections.abc import Callable

import mlx.core as mx

from lucid_fn.cpu.memory import words
from lucid_fn.ops.conv import Formulation, Geometry
from lucid_fn.types import Array

Choose = Callable[[Geometry, int, int, int], Formulation]


def by_groups(choose: Choose) -> Formulation:
    """The formulation that runs each group in the formulation chosen for it.

    `choose` takes the geometry of one group, the batch size, and the numbers of input
    and output channels of a group.
    """

    def forward(x: Array, weight: Array, geometry: Geometry) -> Array:
        one, groups = geometry._replace(groups=1), geometry.groups
        o, c = len(weight) // groups, weight.shape[-1]
        run = choose(one, len(x), c, o).forward
        parts = [
            run(_channels(x, i, c), weight[i * o : (i + 1) * o], one)
            for i in range(groups)
        ]
        return words.concatenate(parts, axis=3)

    def input_grad(g: Array, weight: Array, geometry: Geometry) -> Array:
        one, groups = geometry._replace(groups=1), geometry.groups
        o, c = len(weight) // groups, weight.shape[-1]
        run = choose(one, len(g), c, o).input_grad
        parts = [
            run(_channels(g, i, o), weight[i * o : (i + 1) * o], one)
            for i in range(groups)
        ]
        return words.concatenate(parts, axis=3)

    def weight_grad(x: Array, g: Array, geometry: Geometry) -> Array:
        one, groups = geometry._replace(groups=1), geometry.groups
        o, c = g.shape[-1] // groups, x.shape[-1] // groups
        run = choose(one, len(x), c, o).weight_grad
        parts = [
            run(_channels(x, i, c), _channels(g, i, o), one) for i in range(groups)
        ]
        return mx.concatenate(parts)

    return Formulation(forward, input_grad, weight_grad)


def _channels(x: Array, group: int, channels: int) -> Array:
    return mx.contiguous(x[..., group * channels : (group + 1) * channels])
