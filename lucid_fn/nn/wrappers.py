"""Layers that change how another one is built, called or computed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import transforms
from lucid_fn.checks import check_count
from lucid_fn.evaluation import started
from lucid_fn.nn.combinators import as_layers, compose_layers, serial
from lucid_fn.nn.layer import NOT_GIVEN, Layer, check_layer, check_train, expecting
from lucid_fn.nn.recording import recording
from lucid_fn.types import Array, ArrayFn, Key, Params, State


def repeat(layer: Layer, times: int) -> Layer:
    """`layer` applied `times` times, each with params of its own: `"0"`, `"1"`, ...

    Args:
        layer: from some shape to the same.
        times: number of copies, at least 1.

    Raises:
        ValueError: if `times` is not positive.

    Example:
        >>> from lucid_fn import nn, random
        >>> params, _ = nn.repeat(nn.linear(4, 4), 3).init(random.key(0))
        >>> list(params)
        ['0', '1', '2']
    """
    times = check_count("repeat", "times", times)
    return serial(*[layer] * times)


def parallel(*layers: Layer | ArrayFn, **named: Layer | ArrayFn) -> Layer:
    """`x -> (a(x), b(x), ...)`: all layers on the same input, outputs as a tuple.

    Positional layers are named `"0"`, `"1"`, ... as in `serial`.

    Args:
        *layers: layers and functions on arrays.
        **named: the same with names, which are those of their params; not both.

    Raises:
        TypeError: if some layers are positional and some named.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> towers = nn.parallel(nn.linear(4, 2), nn.linear(4, 3))
        >>> model = nn.serial(towers, lambda ys: mx.concatenate(ys, axis=-1))
        >>> params, state = model.init(random.key(0))
        >>> model.apply(params, state, mx.ones((1, 4)), train=False)[0].shape
        (1, 5)
    """
    if layers and named:
        raise TypeError(
            "parallel: layers must be all positional or all named, got "
            f"{len(layers)} positional and {', '.join(named)}"
        )

    def forward(x: Any, /, **children: Callable[[Any], Any]) -> Any:
        return tuple(child(x) for child in children.values())

    children = named or {str(i): layer for i, layer in enumerate(layers)}
    layers_by_name = as_layers("parallel", children)
    return compose_layers(forward, layers_by_name, in_parts=None)


def checkpointed(layer: Layer) -> Layer:
    """`layer`, whose activations are computed again for the gradient, not stored.

    Values, gradients and state are the same; memory falls by what is inside the layer,
    for the time of one more forward pass.

    Args:
        layer: a layer.

    Raises:
        TypeError: if `layer` is none.

    Source: Chen et al., 2016, https://arxiv.org/abs/1604.06174.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> block = nn.checkpointed(nn.serial(nn.linear(4, 64), nn.tanh))
        >>> params, state = block.init(random.key(0))
        >>> block.apply(params, state, mx.ones((1, 4)), train=True)[0].shape
        (1, 64)
    """
    check_layer("checkpointed", layer)

    def apply(
        params: Params,
        state: State,
        x: Any,
        /,
        *,
        train: bool = NOT_GIVEN,
        key: Key | None = None,
    ) -> tuple[Any, State]:
        check_train(train)

        def pure(params: Params, state: State, x: Any, key: Key | None) -> Any:
            # Without it the backward pass asks for the gradient of random bits.
            key = None if key is None else mx.stop_gradient(key)
            return layer.apply(params, state, x, train=train, key=key)

        y, new_state = transforms.checkpoint(pure)(params, state, x, key)
        return y, new_state

    return Layer(layer.init, apply)


class Tapped(NamedTuple):
    """An output, and outputs on the way to it by the paths of the layers."""

    y: Any
    taps: dict[str, Any]


def tap(layer: Layer, *paths: str) -> Layer:
    """`layer`, which puts out what its inner layers do as well: `nn.Tapped(y, taps)`.

    For perceptual losses, probes and pictures of what a model sees. Gradients flow
    through the taps. Params and state are those of `layer`.

    Args:
        layer: made by combinators, such as `serial`.
        paths: dotted paths of inner layers, such as `"layer2.0.conv1"`; of one that is
            called several times, the last call counts.

    Raises:
        ValueError: if there is no path; on apply, if no layer of a path was called.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn, random
        >>> model = nn.serial(fc1=nn.linear(4, 8), act=nn.tanh, fc2=nn.linear(8, 2))
        >>> params, state = model.init(random.key(0))
        >>> (y, taps), _ = nn.tap(model, "act").apply(
        ...     params, state, mx.ones((1, 4)), train=False
        ... )
        >>> y.shape, taps["act"].shape
        ((1, 2), (1, 8))
    """
    check_layer("tap", layer)
    if not paths:
        raise ValueError("tap: paths must name at least one layer, got none")

    def apply(
        params: Params,
        state: State,
        x: Any,
        /,
        *,
        train: bool = NOT_GIVEN,
        key: Key | None = None,
    ) -> tuple[Any, State]:
        check_train(train)
        with recording() as recorder:
            y, new_state = layer.apply(params, state, x, train=train, key=key)
        called = {record.path: record.y for record in recorder.records}
        for path in paths:
            if path not in called:
                raise ValueError(
                    f"tap: paths must be of layers that are called, got {path!r}; "
                    f"there are {', '.join(called) or 'none'}"
                )
        return Tapped(y, {path: called[path] for path in paths}), new_state

    return Layer(layer.init, apply)


def weight_norm(layer: Layer, *, name: str = "weight") -> Layer:
    """`layer` with a weight of given length and direction: `weight = g * v / |v|`.

    The length is that of a slice of axis 0: the weights of one output, of one input in
    a transposed convolution, as in PyTorch. Params: `weight_g` `(out,
    1, ...)` and `weight_v` `(out, ...)` in place of `weight`, PyTorch's names; they
    start as the weight that `layer` draws.

    Args:
        layer: one with a parameter of this name, such as `nn.linear`.
        name: the parameter.

    Raises:
        TypeError: if `layer` is no layer.
        ValueError: on init, if there is no such parameter; on apply, if params lack
            one.

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

    def apply(
        params: Params,
        state: State,
        x: Any,
        /,
        *,
        train: bool = NOT_GIVEN,
        key: Key | None = None,
    ) -> tuple[Any, State]:
        check_train(train)
        held = expecting(params, "params")
        g, v = (held[name] for name in names)
        if g.shape != _length(v).shape:
            raise ValueError(
                f"weight_norm: {names[0]} must have shape {_length(v).shape} for "
                f"{names[1]} of shape {v.shape}, got {g.shape}"
            )
        others = {other: leaf for other, leaf in params.items() if other not in names}
        weight = (v * (g / _length(v))).astype(v.dtype)
        return layer.apply({**others, name: weight}, state, x, train=train, key=key)

    return Layer(init, apply)


def _length(v: Array) -> Array:
    """The length of each slice of axis 0, with that axis kept; no number overflows."""
    axes = tuple(range(1, v.ndim))
    squares = mx.square(v.astype(mx.float32))
    return mx.sqrt(mx.sum(squares, axis=axes, keepdims=True)).astype(v.dtype)
