"""Find the weights that follow a flattened feature map, by differentiation.

A feature map is flattened as (H, W, C) here and as (C, H, W) in PyTorch, so the columns
of a `linear` after it are in another order. A layer is a pair of functions, so neither
names nor shapes reveal a flatten: 256 features may be 4 x 4 x 16, or the 256 channels
of a global mean. Derivatives do. If all columns of its weight except column `j` are
zero, the output of a `linear` depends on feature `j` alone, so its gradient is zero for
all channels of an earlier layer except the one that feature `j` comes from. If that is
channel

- `j`, or `j` plus a constant, the features are channels: nothing to do;
- `j % C` in a layer of `C` channels, they are a flattened map of `C` channels;
- `j // (features / C)`, the map was flattened in PyTorch's order: nothing to do.

If no earlier layer shows one of the three, that is an error, and the user must say
which layers follow a flatten. The experiment uses positive params, so that no
activation is dead and nothing cancels.

A `linear` whose output is reshaped to a map cannot be told from one whose output is
split into vectors, so that is an error too.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lucid_fn import nn, tree
from lucid_fn.interop.probing import (
    INPUT,
    Source,
    Supports,
    find_input_shape,
    make_supports,
    weights_of,
)
from lucid_fn.nn.core.surgery import map_layers


class Flattened(NamedTuple):
    """Channels of flattened maps, by the path of an array with a flattened axis."""

    rows: dict[str, int]  # arrays whose axis 0 is a flattened map
    columns: dict[str, int]  # arrays whose last axis is


def find_flattened(
    caller: str,
    model: nn.Layer,
    params: dict[str, Any],
    state: dict[str, Any],
    input_shape: tuple[int, ...] | None,
) -> Flattened:
    """Find the arrays of a model with an axis that is a flattened feature map.

    Raises:
        ValueError: if that cannot be decided.
    """
    shapes = {path: leaf.shape for path, leaf in sorted(weights_of(params).items())}
    projections = _output_projections(tree.paths(params))
    known = _without_flatten(model)
    linears = {
        path: shape
        for path, shape in shapes.items()
        if len(shape) == 2 and path not in projections and not path.startswith(known)
    }
    kernels = {path: shape for path, shape in shapes.items() if len(shape) > 2}
    if not linears:
        return Flattened({}, {})
    if input_shape is None:
        input_shape = find_input_shape(caller, model, params, state)
    if not kernels and (input_shape is None or len(input_shape) < 2):
        return Flattened({}, {})
    rows: dict[str, int] = {}
    columns: dict[str, int] = {}
    supports = make_supports(caller, model, params, state, input_shape or ())
    for path, (_, features) in linears.items():
        if features == 1:
            continue
        found = _infer_channels(features, partial(supports, path, -1))
        if found is None:
            raise ValueError(
                f"{caller}: cannot tell whether {path} follows a flatten of a feature "
                f"map; pass flattened={{{path.rpartition('.')[0]!r}: (H, W, C)}} if it "
                "does, and flattened={} if no layer does"
            )
        channels, same_order = found
        if channels > 1:
            columns[path] = channels
            rows |= dict.fromkeys(same_order, channels)
    for kernel, shape in kernels.items():
        for axis in (-1, 0):
            _check_no_unflatten(caller, linears, supports, kernel, axis, shape[axis])
    return Flattened(rows, columns)


def _output_projections(paths: Collection[str]) -> set[str]:
    """Paths of the output projections of attention layers, which follow no flatten.

    Derivatives cannot show that: one feature of a head depends on the queries and keys
    of all its features.
    """
    names = ("in_proj_weight", "q_proj_weight")
    return {
        f"{path.removesuffix(name)}out_proj.weight"
        for path in paths
        for name in names
        if path.endswith(name)
    }


def _without_flatten(model: nn.Layer) -> tuple[str, ...]:
    """Path prefixes of the layers that are declared to contain no flatten."""
    found: list[str] = []

    def note(path: str, layer: nn.Layer) -> nn.Layer:
        if getattr(layer.apply, "without_flatten", False):
            found.append(f"{path}." if path else "")
        return layer

    map_layers(note, model)
    return tuple(found)


def _infer_channels(
    features: int, supports: Callable[[int], Supports]
) -> tuple[int, list[str]] | None:
    """The channels of the flattened map, 1 if there is none, and arrays in its order.

    `supports(j)` gives the entries of each source on which feature `j` depends. The
    result is `None` if that is inconclusive.
    """
    columns = sorted({1, features // 2, features - 2} & set(range(features)))
    seen: list[dict[Source, int]] = []
    for column in columns:
        seen.append(_only_entries(supports(column)))
        if any(size == features for _, _, size in seen[0]) and not any(
            _may_be_channels(source, features) for source in seen[0]
        ):
            break  # the common case: the features are channels
    last, first, in_order = set(), set(), []
    for source in seen[0]:
        places = [found[source] for found in seen if source in found]
        if len(places) < len(seen):
            continue
        size = source[2]
        shown = list(zip(places, columns, strict=False))
        if _may_be_channels(source, features):
            if all(place == j % size for place, j in shown):
                last.add(size)
                continue
            if all(place == j * size // features for place, j in shown):
                first.add(size)
                continue
        if len({place - j for place, j in shown}) == 1:
            in_order.append(source)
    if len(last) == 1 and not first:
        same = [p for p, axis, n in in_order if n == features and axis == 0 and p]
        return last.pop(), same
    return (1, []) if not last and (first or in_order) else None


def _may_be_channels(source: Source, features: int) -> bool:
    """Whether the source may be the channels of a map with this number of features."""
    path, axis, size = source
    # Axis 0 of the input stands for all its pixels and channels.
    is_position = path == INPUT and axis == 0
    return not is_position and size < features and features % size == 0


def _only_entries(supports: Supports) -> dict[Source, int]:
    """The entry of each source that is its only one in the support."""
    entries = {source: np.flatnonzero(support) for source, support in supports.items()}
    return {
        source: int(seen[0])
        for source, seen in entries.items()
        if len(seen) == 1 and source[2] > 1
    }


def _check_no_unflatten(
    caller: str,
    linears: Mapping[str, tuple[int, ...]],
    supports: Callable[[str, int, int], Supports],
    kernel: str,
    axis: int,
    channels: int,
) -> None:
    """Raise if the output of a linear may become the feature map of a convolution.

    Channel 1 of the convolution then depends on every `channels`-th row. That is also
    the case if the output is split into as many vectors as the map has pixels.
    """
    wide = [p for p, (o, _) in linears.items() if o > channels and not o % channels]
    if channels == 1 or not wide:
        return
    seen = supports(kernel, axis, 1)
    for path in wide:
        support = seen[path, 0, linears[path][0]]
        if np.array_equal(support, np.arange(len(support)) % channels == 1):
            raise ValueError(
                f"{caller}: cannot tell whether the output of {path} becomes a feature "
                f"map; pass flattened={{{path.rpartition('.')[0]!r}: (H, W, C)}} if it "
                "does, with all other layers that take or make a flattened map, and "
                "flattened={} if none does"
            )
