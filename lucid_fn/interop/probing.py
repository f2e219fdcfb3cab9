"""Find which channels or features an entry of a weight depends on, by derivatives."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeAlias

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lucid_fn import nn, transforms, tree
from lucid_fn.nn.core.recording import recording
from lucid_fn.types import Array

INPUT = ""
"""The path of the model's input among the sources."""

Source: TypeAlias = tuple[str, int, int]
"""An axis that may enumerate features: path of the array, axis, length."""

Supports: TypeAlias = dict[Source, NDArray[np.bool_]]
"""The entries of each source with a nonzero gradient, as masks."""

# Image sizes to try, common ones first. The result is the same for all that fit.
_SIZES = (32, 28, 64, 224, 16, 96, 128, 227, 299, 8, 48, 256, *range(1, 225))


def leaves_of(params: dict[str, Any], state: dict[str, Any]) -> dict[str, Array]:
    """All arrays by path, params and state together as in a `state_dict`."""
    return {**tree.named_leaves(params), **tree.named_leaves(state)}


def weights_of(params: dict[str, Any]) -> dict[str, Array]:
    """The weights of linear and convolutional layers by path, in the model's order.

    Under `nn.weight_norm` the weight is represented by its direction `weight_v`.
    """
    leaves = dict(_in_order(params, ""))
    return {
        path: leaf
        for path, leaf in leaves.items()
        if path.rpartition(".")[2] in ("weight", "weight_v")
        and 2 <= leaf.ndim <= 5
        and not is_norm_param(path, leaves)
    }


def is_norm_param(path: str, leaves: Mapping[str, Array]) -> bool:
    """Whether this is the weight or bias of a norm over several axes.

    Decided by initial values: such a weight has a bias of the same shape, or no bias
    and all ones. The weights of linear and convolutional layers are random and have one
    bias per output.
    """
    layer, _, name = path.rpartition(".")
    dot = "." if layer else ""
    weight, bias = (leaves.get(f"{layer}{dot}{n}") for n in ("weight", "bias"))
    if name not in ("weight", "bias") or weight is None or weight.ndim < 2:
        return False
    if bias is not None:
        return bias.shape == weight.shape
    return bool(mx.all(weight == 1))


def _in_order(params: dict[str, Any], path: str) -> Iterator[tuple[str, Array]]:
    for name, child in params.items():
        if isinstance(child, dict):
            yield from _in_order(child, f"{path}{name}.")
        else:
            yield from tree.named_leaves({f"{path}{name}": child}).items()


def make_supports(
    caller: str,
    model: nn.Layer,
    params: dict[str, Any],
    state: dict[str, Any],
    input_shape: tuple[int, ...],
) -> Callable[[str, int, int], Supports]:
    """Make the function `supports(path, axis, entry)`.

    It sets the weight of this path to zero, except for one entry of the axis, and
    returns the entries of all sources on which the output of its layer then depends.
    """
    rng = np.random.default_rng(0)
    leaves = leaves_of(params, state)
    norms = {path for path in leaves if is_norm_param(path, leaves)}

    def positive(path: str, leaf: Array) -> Array:
        if not mx.issubdtype(leaf.dtype, mx.floating):
            return leaf
        is_bias = path.endswith("bias")
        if path in norms:  # a bias that outweighs negative outputs of the norm
            scale = 8.0 if is_bias else 1.0
        else:
            scale = 0.1 if leaf.ndim < 2 and is_bias else 1.0
            scale /= math.prod(leaf.shape[1:]) if leaf.ndim > 1 else 1
        return mx.array((scale * rng.uniform(0.5, 1.5, leaf.shape)).astype(np.float32))

    values = tree.map_with_path(positive, params)
    x = mx.array(rng.uniform(0.5, 1.5, (1, *input_shape)).astype(np.float32))

    def probe(path: str, params: Any, state: Any, x: Array) -> Array:
        """A scalar function of the output of the layer that has this weight."""
        with recording() as recorder:
            y, _ = model.apply(params, state, x, train=False)
        calls: dict[str, list[Any]] = {
            record.path: []
            for record in recorder.records
            if path.startswith(f"{record.path}.")
        }
        for record in recorder.records:
            if record.path in calls:
                calls[record.path].append(record.y)
        # The output of the model if the layer is not a child of a combinator.
        y = calls[max(calls, key=len)] if calls else y
        parts = [leaf for leaf in tree.leaves(y) if isinstance(leaf, mx.array)]
        # With equal weights, the sum after a softmax would be constant.
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

    def supports(path: str, axis: int, entry: int) -> Supports:
        weight = tree.at(values, path).get()
        live = mx.arange(weight.shape[axis]) == entry
        if axis == 0:
            live = live.reshape(-1, *[1] * (weight.ndim - 1))
        only = tree.at(values, path).set(mx.where(live, weight, 0.0))
        function = transforms.grad(
            lambda params, floats, x: probe(
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
        return dict(_supports(path, leaves_of(grads, state_grads), norms, x_grad))

    return supports


def _supports(
    path: str, grads: Mapping[str, Array], norms: Collection[str], x_grad: Array
) -> Iterator[tuple[Source, NDArray[np.bool_]]]:
    """For each axis that may enumerate features: the entries with a gradient."""
    for source, grad in grads.items():
        if source == path or grad.ndim == 0:
            continue
        size = np.abs(np.array(grad.astype(mx.float32)))
        # The weight of a norm over a map has positions first and channels last.
        for axis in {grad.ndim - 1} if source in norms else {0, grad.ndim - 1}:
            yield (source, axis, grad.shape[axis]), _support(np.moveaxis(size, axis, 0))
    size = np.abs(np.array(x_grad))[0]
    yield (INPUT, -1, size.shape[-1]), _support(np.moveaxis(size, -1, 0))
    yield (INPUT, 0, size.size), _support(size.reshape(-1))


def _support(size: NDArray[Any]) -> NDArray[np.bool_]:
    largest = size.reshape(len(size), -1).max(axis=1)
    support: NDArray[np.bool_] = ~(largest <= 1e-6 * largest.max())
    return support


def find_input_shape(
    caller: str,
    model: nn.Layer,
    params: dict[str, Any],
    state: dict[str, Any],
) -> tuple[int, ...] | None:
    """Find a shape of one example that the model accepts; `None` if it has no maps."""
    reasons: list[Exception] = []

    def output_of(shape: tuple[int, ...]) -> Any:
        """The lazy output for an input of this shape, `None` if that fails."""
        try:
            return model.apply(params, state, mx.zeros((1, *shape)), train=False)[0]
        except Exception as error:
            reasons.append(error)
            return None

    weights = list(weights_of(params).values())
    widths = [weight.shape[1] for weight in weights if weight.ndim == 2]
    convolutions = [weight for weight in weights if weight.ndim >= 3]
    if not convolutions:
        for features in dict.fromkeys(widths):
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
    for features in dict.fromkeys(widths):
        if output_of((features,)) is not None:
            return (features,)
    raise ValueError(
        f"{caller}: cannot tell what the model takes, to find what follows a flatten "
        "of a feature map; pass input_shape=(H, W, C), without the batch axis"
    ) from reasons[0]
