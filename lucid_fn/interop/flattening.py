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
cancels. What is left aside: a `linear` whose *output* becomes a map.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lucid_fn import nn, transforms, tree
from lucid_fn.nn.recording import Record, recording
from lucid_fn.types import Array


class Flattened(NamedTuple):
    """Channels of the maps whose flattened features an axis of an array counts."""

    rows: dict[str, int]  # axis 0, by path
    columns: dict[str, int]  # the last axis


# Common sizes first: the answer does not depend on which of those that fit is taken.
_SIZES = (32, 28, 64, 224, 16, 96, 128, 227, 299, 8, 48, 256, *range(1, 225))
_INPUT = ""
"""The path of the input among the sources of features."""

Source: TypeAlias = tuple[str, int, int]
"""What may count features: a path, an axis, and how long that is."""

Supports: TypeAlias = dict[Source, NDArray[np.bool_]]
"""Which entries of each source are seen through one feature."""

SupportsFn: TypeAlias = Callable[[int], Supports]


def leaves_of(params: dict[str, Any], state: dict[str, Any]) -> dict[str, Array]:
    """All arrays by path, params and state together, as PyTorch has them."""
    return {**tree.named_leaves(params), **tree.named_leaves(state)}


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
    linears = [
        (path, leaf.shape[1])
        for path, leaf in tree.named_leaves(params).items()
        if leaf.ndim == 2 and path.rpartition(".")[2] == "weight" and leaf.shape[1] > 1
    ]
    if not linears:
        return Flattened({}, {})
    if input_shape is None:
        input_shape = _find_input_shape(caller, model, params, state, linears)
    if input_shape is None or len(input_shape) < 2:
        return Flattened({}, {})
    rows: dict[str, int] = {}
    columns: dict[str, int] = {}
    supports = _experiment(caller, model, params, state, input_shape)
    for path, features in linears:
        found = _judge(features, partial(supports, path))
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
    return Flattened(rows, columns)


def _judge(features: int, supports: SupportsFn) -> tuple[int, list[str]] | None:
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
    is_position = path == _INPUT and axis == 0
    return not is_position and size < features and features % size == 0


def _single(supports: Supports) -> dict[Source, int]:
    """The only entry that is seen, of the sources where there is one."""
    entries = {source: np.flatnonzero(support) for source, support in supports.items()}
    return {
        source: int(seen[0])
        for source, seen in entries.items()
        if len(seen) == 1 and source[2] > 1
    }


def _experiment(
    caller: str,
    model: nn.Layer,
    params: dict[str, Any],
    state: dict[str, Any],
    input_shape: tuple[int, ...],
) -> Callable[[str, int], Supports]:
    """The function from a weight's path and a column to the supports of all sources."""
    rng = np.random.default_rng(0)

    def positive(path: str, leaf: Array) -> Array:
        if not mx.issubdtype(leaf.dtype, mx.floating):
            return leaf
        scale = 0.1 if leaf.ndim < 2 and path.endswith("bias") else 1.0
        scale /= math.prod(leaf.shape[1:]) if leaf.ndim > 1 else 1
        return mx.array((scale * rng.uniform(0.5, 1.5, leaf.shape)).astype(np.float32))

    values = tree.map_with_path(positive, params)
    x = mx.array(rng.uniform(0.5, 1.5, (1, *input_shape)).astype(np.float32))

    def seen_by(path: str, params: Any, state: Any, x: Array) -> Array:
        """One number of what the layer returns that has the weight of this path."""
        with recording() as recorder:
            y, _ = model.apply(params, state, x, train=False)
        calls: dict[str, list[Any]] = {
            record.path: [] for record in recorder.records if _holds(record, path)
        }
        for record in recorder.records:
            if record.path in calls:
                calls[record.path].append(record.y)
        # The model's own output if the layer is no child of a combinator.
        y = calls[max(calls, key=len)] if calls else y
        parts = [leaf for leaf in tree.leaves(y) if isinstance(leaf, mx.array)]
        # Weights that differ, or a softmax at the end would have a constant sum.
        weights = (mx.arange(1, 1 + part.size) / part.size for part in parts)
        sums = (
            mx.sum(part.astype(mx.float32).reshape(-1) * weight)
            for part, weight in zip(parts, weights, strict=True)
        )
        return sum(sums, mx.array(0.0))

    dtypes = {path: leaf.dtype for path, leaf in tree.named_leaves(state).items()}
    floats, counts = tree.partition(
        lambda path: mx.issubdtype(dtypes[path], mx.floating), state
    )

    def supports(path: str, column: int) -> Supports:
        weight = tree.at(values, path)
        live = mx.arange(weight.shape[1]) == column
        only = tree.replace_at(values, path, mx.where(live, weight, 0.0))
        function = transforms.grad(
            lambda params, floats, x: seen_by(
                path, params, tree.merge(floats, counts), x
            ),
            argnums=(0, 1, 2),
        )
        try:
            grads, state_grads, x_grad = function(only, floats, x)
        except Exception as error:
            raise ValueError(
                f"{caller}: the model must take a float input of the shape "
                f"(1, {', '.join(map(str, input_shape))}) to find what follows a "
                "flatten; pass another input_shape, or flattened={...} to say it"
            ) from error
        return dict(_supports(path, leaves_of(grads, state_grads), x_grad))

    return supports


def _holds(record: Record, path: str) -> bool:
    return path.startswith(f"{record.path}.")


def _supports(
    path: str, grads: Mapping[str, Array], x_grad: Array
) -> Iterator[tuple[Source, NDArray[np.bool_]]]:
    """For each axis that may count features: which entries have a gradient."""
    for source, grad in grads.items():
        if source == path or grad.ndim == 0:
            continue
        size = np.abs(np.array(grad.astype(mx.float32)))
        for axis in {0, grad.ndim - 1}:
            yield (source, axis, grad.shape[axis]), _support(np.moveaxis(size, axis, 0))
    size = np.abs(np.array(x_grad))[0]
    yield (_INPUT, -1, size.shape[-1]), _support(np.moveaxis(size, -1, 0))
    yield (_INPUT, 0, size.size), _support(size.reshape(-1))


def _support(size: NDArray[Any]) -> NDArray[np.bool_]:
    largest = size.reshape(len(size), -1).max(axis=1)
    support: NDArray[np.bool_] = ~(largest <= 1e-6 * largest.max())
    return support


def _find_input_shape(
    caller: str,
    model: nn.Layer,
    params: dict[str, Any],
    state: dict[str, Any],
    linears: list[tuple[str, int]],
) -> tuple[int, ...] | None:
    """A shape of one example that the model takes; `None` if it sees no map at all."""

    reasons: list[Exception] = []

    def output_of(shape: tuple[int, ...]) -> Any:
        """What the model makes of this shape: lazy, nothing is computed."""
        try:
            return model.apply(params, state, mx.zeros((1, *shape)), train=False)[0]
        except Exception as error:
            reasons.append(error)
            return None

    convolutions = list(_convolutions(params))
    if not convolutions:
        for features in {features for _, features in linears}:
            for shape in ((1, features), (1, 1, features)):
                y = output_of(shape)
                if isinstance(y, mx.array) and y.ndim < 1 + len(shape):
                    raise ValueError(
                        f"{caller}: the model flattens its input, whose channels no "
                        "layer tells; pass input_shape=(H, W, C), or (features,) if "
                        "it is flat already"
                    )
        return None
    weight = convolutions[0]
    channels = dict.fromkeys((weight.shape[-1], weight.shape[0], 1, 3))
    for size in dict.fromkeys(_SIZES):
        for count in channels:
            shape = (*[size] * (weight.ndim - 2), count)
            if output_of(shape) is not None:
                return shape
    raise ValueError(
        f"{caller}: cannot tell what the model takes, to find what follows a flatten "
        "of a feature map; pass input_shape=(H, W, C), without the batch axis"
    ) from reasons[0]


def _convolutions(params: dict[str, Any]) -> Iterator[Array]:
    """Weights of convolutions, in the order in which the layers were named."""
    for name, child in params.items():
        if isinstance(child, dict):
            yield from _convolutions(child)
        elif name == "weight" and 3 <= child.ndim <= 5:
            yield child
