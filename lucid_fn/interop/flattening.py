"""Which arrays see a feature map that was flattened, found by differentiating.

A feature map is flattened as (H, W, C) here and as (C, H, W) in PyTorch, so the columns
of a `linear` after it are in another order. A layer is a pair of functions, so nothing
says where a flatten is: not a name, not a shape (256 features may be 4 x 4 x 16 or the
256 channels of a mean). But derivatives do. With all columns of its weight but column
`j` set to zero, what a `linear` returns depends on feature `j` alone, and its gradient
is zero for all channels of an earlier layer but the one that this feature belongs to.
If that channel is

- `j`, or `j` plus a constant: the features are channels, and there is nothing to do;
- `j % C` in a layer of `C` channels: they are a map of `C` channels, flattened;
- `j // (features / C)`: it was flattened in PyTorch's order, nothing to do.

If no earlier layer shows one of the three, nothing is assumed, and it is an error.
Parameters are positive in this experiment, so that no activation is dead and nothing
cancels.

The other way round, a `linear` whose output becomes a map looks like one whose output
is cut in parts, so that is an error as well, and must be said.
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
    experiment,
    find_input_shape,
    weights_of,
)
from lucid_fn.nn.core.surgery import map_layers


class Flattened(NamedTuple):
    """The channels of flattened maps, by the path of an array that counts features."""

    rows: dict[str, int]  # axis 0, by path
    columns: dict[str, int]  # the last axis


def find_flattened(
    caller: str,
    model: nn.Layer,
    params: dict[str, Any],
    state: dict[str, Any],
    input_shape: tuple[int, ...] | None,
) -> Flattened:
    """The arrays of a model that count the features of a flattened map.

    Raises:
        ValueError: if that cannot be told.
    """
    shapes = {path: leaf.shape for path, leaf in sorted(weights_of(params).items())}
    merging, known = _merge_heads(tree.paths(params)), _without_flatten(model)
    linears = {
        path: shape
        for path, shape in shapes.items()
        if len(shape) == 2 and path not in merging and not path.startswith(known)
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
    supports = experiment(caller, model, params, state, input_shape or ())
    for path, (_, features) in linears.items():
        if features == 1:
            continue
        found = _judge(features, partial(supports, path, -1))
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
            _check_no_map(caller, linears, supports, kernel, axis, shape[axis])
    return Flattened(rows, columns)


def _merge_heads(paths: Collection[str]) -> set[str]:
    """The output projections of attentions, which take the heads of a token.

    Derivatives do not tell that: through one feature of a head the queries and keys of
    all its features are seen.
    """
    names = ("in_proj_weight", "q_proj_weight")
    return {
        f"{path.removesuffix(name)}out_proj.weight"
        for path in paths
        for name in names
        if path.endswith(name)
    }


def _without_flatten(model: nn.Layer) -> tuple[str, ...]:
    """Prefixes of the layers that are declared to take no flattened map."""
    found: list[str] = []

    def note(path: str, layer: nn.Layer) -> nn.Layer:
        if getattr(layer.apply, "without_flatten", False):
            found.append(f"{path}." if path else "")
        return layer

    map_layers(note, model)
    return tuple(found)


def _judge(
    features: int, supports: Callable[[int], Supports]
) -> tuple[int, list[str]] | None:
    """The channels of the flattened map, 1 if none, and what counts its features.

    `supports(j)` says for each source, a path and an axis, which of its entries are
    seen through feature `j`. `None` if that shows nothing, or two things at once.
    """
    columns = sorted({1, features // 2, features - 2} & set(range(features)))
    seen: list[dict[Source, int]] = []
    for column in columns:
        seen.append(_single(supports(column)))
        if any(size == features for _, _, size in seen[0]) and not any(
            _may_be_channels(source, features) for source in seen[0]
        ):
            break  # the features themselves are channels: the usual case, soon known
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
    """Whether a map of so many channels can have so many features when flattened."""
    path, axis, size = source
    # Axis 0 of the input counts its pixels times its channels.
    is_position = path == INPUT and axis == 0
    return not is_position and size < features and features % size == 0


def _single(supports: Supports) -> dict[Source, int]:
    """The only entry that is seen, of the sources where there is one."""
    entries = {source: np.flatnonzero(support) for source, support in supports.items()}
    return {
        source: int(seen[0])
        for source, seen in entries.items()
        if len(seen) == 1 and source[2] > 1
    }


def _check_no_map(
    caller: str,
    linears: Mapping[str, tuple[int, ...]],
    supports: Callable[[str, int, int], Supports],
    kernel: str,
    axis: int,
    channels: int,
) -> None:
    """Raises if the output of a linear may become a map that a convolution takes.

    Through channel 1 of the convolution every `channels`-th row is seen then. But that
    is so as well if the output is cut into vectors, as many as the map had pixels.
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
