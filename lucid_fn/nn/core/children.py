"""Checks of `compose`: of children, of `forward`, and of what children return."""

from collections.abc import Callable
from inspect import Parameter
from typing import Any

from lucid_fn.checks import signature_of
from lucid_fn.nn.core.layer import Layer, check_dict, note_constructor
from lucid_fn.nn.core.lift import check_plain, lift
from lucid_fn.types import State


def as_layers(caller: str, children: dict[str, Any]) -> dict[str, Layer]:
    """The children as layers; errors begin with `caller` and name the child."""
    for name in children:
        if "." in name:
            raise ValueError(
                f"{caller}: a child's name must not contain a dot, got {name!r}: dots "
                "separate the names of a path"
            )
    return {
        name: as_layer(f"{caller}: child {name!r}", child)
        for name, child in children.items()
    }


def as_layer(what: str, child: Any) -> Layer:
    """The child as a layer; errors begin with `what`."""
    if isinstance(child, Layer):
        return child
    if isinstance(child, list | tuple) and any(isinstance(c, Layer) for c in child):
        raise TypeError(
            f"{what} must be a layer or a function on arrays, got a "
            f"{type(child).__name__} of layers; unpack it, as in serial(*layers)"
        )
    check_plain(what, child)
    layer = lift(child)
    note_constructor(layer.apply, child)  # `repr` shows the function without `lift`
    return layer


def check_forward(
    forward: Callable[..., Any], layers: dict[str, Layer]
) -> frozenset[str]:
    """Checks the signature of `forward`; returns which of `train`, `key` it takes."""
    if not callable(forward) or isinstance(forward, Layer):
        raise TypeError(
            "compose: forward must be a function forward(x, **children), got "
            f"{type(forward).__name__}; to chain layers use serial"
        )
    if (signature := signature_of(forward)) is None:
        raise TypeError(
            "compose: forward must be a Python function forward(x, **children), got "
            f"{forward!r}, whose signature is not known"
        )
    extras = frozenset(
        name
        for name in ("train", "key")
        if name not in layers
        and name in signature.parameters
        and signature.parameters[name].kind == Parameter.KEYWORD_ONLY
    )
    try:
        signature.bind(None, **layers, **dict.fromkeys(extras))
    except TypeError as error:
        positional = {"train", "key"} & set(signature.parameters) - extras - set(layers)
        fix = "write train and key after a *, as in forward(x, *, train, key)"
        if not positional:
            fix = f"write it as forward({', '.join(['x', *layers])})"
        raise TypeError(
            f"compose: forward{signature} does not accept the "
            f"children {', '.join(layers)}: {error}; {fix}"
        ) from None
    return extras


def single_input(child: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The input with which `forward` calls a child, its only argument."""
    if len(args) + len(options) == 1 and not options.keys() - {"x"}:
        return args[0] if args else options["x"]
    got = " and ".join(options)
    if {"carry", "lengths"} & options.keys():
        fix = f"write {child}(nn.RecurrentInputs(x, carry, lengths))"
    elif {"query", "value", "mask", "attn_mask"} & options.keys():
        fix = f"write {child}(nn.AttentionInputs(query, key, value, mask))"
    elif options:
        fix = "train, key, params and state are those of apply, passed on by compose"
    else:
        got = f"{len(args)} arguments"
        fix = (
            f"a layer of several inputs takes them as a tuple, as in {child}((x, y)), "
            f"or {child}(nn.AttentionInputs(query, key, value)) for attention"
        )
    raise TypeError(
        f"compose: child {child!r} must be called with its input alone, as in "
        f"{child}(x), got {got}; {fix}"
    )


def check_returned(caller: str, pair: Any, first: str) -> tuple[Any, State]:
    """The pair `(first, state)` that a child's `init` or `apply` returned."""
    # An array of two rows would unpack as well.
    if not isinstance(pair, tuple) or len(pair) != 2:
        raise TypeError(
            f"{caller}: a layer must return the pair ({first}, state), got "
            f"{type(pair).__name__}"
        )
    for kind, value in zip((first, "state"), pair, strict=True):
        if kind != "y" and not isinstance(value, dict):
            raise TypeError(
                f"{caller}: a layer must return {kind} as a dict, got "
                f"{type(value).__name__}; a layer without any returns {{}}"
            )
    return pair


def check_names(values: dict[str, Any], layers: dict[str, Layer], kind: str) -> None:
    """Raises unless the names in params or state are those of children."""
    check_dict(values, kind)
    unknown = values.keys() - layers.keys()
    if unknown:
        raise ValueError(
            f"apply: {kind} must hold names of children ({', '.join(layers)}), got "
            f"{', '.join(sorted(map(str, unknown)))}; were they made by this layer's "
            "init?"
        )
