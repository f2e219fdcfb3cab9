"""Weight normalization: a weight as the product of a length and a direction."""

from typing import Any

import mlx.core as mx

from lucid_fn.nn.core.layer import Layer, check_layer, require_names, wrap
from lucid_fn.numerics import reduced
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key, Params, State


def weight_norm(layer: Layer, *, name: str = "weight") -> Layer:
    """Weight normalization: `layer` with `weight = g * v / |v|`.

    As in PyTorch, `|v|` is the length of each slice along axis 0: of the weights of one
    output, or of one input in a transposed convolution. Params: `weight_g`
    `(out, 1, ...)` and `weight_v` `(out, ...)` in place of `weight`, PyTorch's names;
    initially their product is the weight that `layer` draws.

    Args:
        layer: a layer with a parameter `name`, such as `nn.linear`.
        name: the parameter to normalize.

    Raises:
        TypeError: if `layer` is not a layer.
        ValueError: on init, if there is no such parameter; on apply, if params lack
            `weight_g` or `weight_v`, or their shapes do not fit.

    Source: Salimans & Kingma, 2016, https://arxiv.org/abs/1602.07868, eq. 2.

    Example:
        >>> from lucid_fn import nn, random
        >>> params, _ = nn.weight_norm(nn.linear(4, 2)).init(random.key(0))
        >>> {name: leaf.shape for name, leaf in params.items()}
        {'bias': (2,), 'weight_g': (2, 1), 'weight_v': (2, 4)}
    """
    check_layer("weight_norm", layer)
    names = f"{name}_g", f"{name}_v"

    def init(key: Key, /) -> tuple[Params, State]:
        params, state = layer.init(key)
        if not isinstance(params.get(name), mx.array):
            raise ValueError(
                f"weight_norm: layer must have a parameter {name!r}, got "
                f"{', '.join(params) or 'none'}"
            )
        others = {other: leaf for other, leaf in params.items() if other != name}
        v = params[name]
        return started({**others, names[0]: _length(v), names[1]: v}), state

    def run(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        held = require_names(params, "params")
        g, v = (held[name] for name in names)
        if g.shape != _length(v).shape:
            raise ValueError(
                f"weight_norm: {names[0]} must have shape {_length(v).shape} for "
                f"{names[1]} of shape {v.shape}, got {g.shape}"
            )
        others = {other: leaf for other, leaf in params.items() if other not in names}
        weight = (v * (g / _length(v))).astype(v.dtype)
        return layer.apply({**others, name: weight}, state, x, train=train, key=key)

    return wrap(layer, run, init=init)


def _length(v: Array) -> Array:
    """The length of each slice along axis 0, shape `(out, 1, ...)`."""
    axes = tuple(range(1, v.ndim))
    squares = mx.square(v.astype(mx.float32))
    total = reduced(mx.sum, squares, axis=axes, keepdims=True, empty=0)
    return mx.sqrt(total).astype(v.dtype)
