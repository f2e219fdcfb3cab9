"""Quantization of weights to 4 or 8 bits, for inference."""

from collections.abc import Callable, Iterator

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import check_count, check_function, check_type, listed
from lucid_fn.nn.core.layer import Layer, check_dict, check_layer
from lucid_fn.ops.linear import BITS, GROUP_SIZES, quantize as quantize_weight
from lucid_fn.tracing import started
from lucid_fn.types import Params


def quantize(
    layer: Layer,
    params: Params,
    *,
    bits: int = 4,
    group_size: int = 64,
    predicate: Callable[[str], bool] | None = None,
) -> Params:
    """Quantizes the weights of linear layers, attentions and embeddings to few bits.

    `layer.apply` accepts the new params in place of its own, and multiplies by MLX's
    kernels for quantized weights, which read a quarter to a seventh of the memory; on
    CPUs this saves no time. All other params stay the same. They are for inference:
    gradients flow through such a layer, but the quantized weights cannot be trained,
    and `vmap` must not map over them.

    The elements of a row are quantized in groups of `group_size`, to
    `scale * integer + bias`. None changes by more than one step of its group,
    `(max - min) / (2^bits - 1)`.

    Args:
        layer: the layer that the params belong to, made by combinators; inside of
            `frozen`, `checkpointed` and other wrappers nothing is quantized.
        params: its params, in a float dtype, which is also that of scales and biases.
        bits: 4 or 8.
        group_size: 32, 64 or 128, a divisor of the number of inputs of each weight.
        predicate: whether to quantize a weight, from its dotted path, such as
            `"fc1.weight"`; all weights are quantized if `None`.

    Returns:
        Params with an `ops.QuantizedWeight` in place of each quantized weight.

    Raises:
        TypeError: if an argument is of the wrong type, or a weight is quantized
            already.
        ValueError: if there is nothing to quantize, the predicate chooses nothing, the
            group size does not divide the inputs of a weight, or a number is out of
            range.

    Source: `mx.quantize` and `mx.quantized_matmul`, in its mode "affine".

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random, tree
        >>> layer = nn.serial(nn.linear(64, 128), nn.relu, nn.linear(128, 2))
        >>> params, state = layer.init(random.key(0))
        >>> small = nn.quantize(layer, params, bits=4)
        >>> layer.apply(small, state, mx.ones((1, 64)), train=False)[0].shape
        (1, 2)
        >>> tree.nbytes(params), tree.nbytes(small)
        (34312, 5800)
    """
    caller = "quantize"
    check_layer(caller, layer)
    check_dict(params, "params", caller)
    if predicate is not None:
        check_function(caller, "predicate", predicate, kinds="a function of the path")
    bits = _check_choice("bits", bits, BITS)
    group_size = _check_choice("group_size", group_size, GROUP_SIZES)
    weights = list(_quantizable_weights(layer, ""))
    if not weights:
        raise ValueError(
            f"{caller}: layer must have a linear layer, an attention or an embedding "
            f"to quantize, got {layer!r:.80}; layers inside of nn.frozen and other "
            "wrappers are not found: quantize the layer and wrap it afterwards"
        )
    paths = [path for path in weights if predicate is None or predicate(path)]
    if not paths:
        raise ValueError(
            f"{caller}: predicate must choose a weight, got none; there are "
            f"{listed(weights)}"
        )
    small = params
    for path in paths:
        weight = tree.at(params, path).get()
        fix = "is it quantized already?"
        check_type(caller, path, weight, mx.array, "an array", fix=fix)
        if weight.shape[-1] % group_size:
            raise ValueError(
                f"{caller}: group_size must divide the number of inputs of {path}, got "
                f"{group_size} and {weight.shape[-1]}; give a smaller group_size, or "
                f"leave {path} out with predicate=lambda path: path != {path!r}"
            )
        small = tree.at(small, path).set(quantize_weight(weight, bits, group_size))
    return started(small)


def _check_choice(name: str, value: int, allowed: tuple[int, ...]) -> int:
    value = check_count("quantize", name, value)
    if value not in allowed:
        raise ValueError(
            f"quantize: {name} must be one of {', '.join(map(str, allowed))}, got "
            f"{value}"
        )
    return value


def _quantizable_weights(layer: Layer, prefix: str) -> Iterator[str]:
    """The paths of the weights that may be quantized."""
    for path in getattr(layer.apply, "quantizable", ()):
        yield prefix + path
    for name, child in getattr(layer.apply, "children", {}).items():
        yield from _quantizable_weights(child, f"{prefix}{name}.")
