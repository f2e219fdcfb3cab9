"""What `compose` demands of children, of `forward`, and of what they return."""

from collections.abc import Callable
from inspect import Parameter
from typing import Any

from lucid_fn.checks import signature_of
from lucid_fn.nn.core.layer import Layer, check_held, note_call
from lucid_fn.nn.core.lift import check_plain, lift


def as_layers(caller: str, children: dict[str, Any]) -> dict[str, Layer]:
    """The children as layers; errors are those of `caller`, and name the child."""
    for name in children:
        if "." in name:
            raise ValueError(
                f"{caller}: a child's name must not hold a dot, got {name!r}: dots "
                "part the names of a path"
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
    note_call(layer.apply, child)  # it is shown as the function, without `lift`
    return layer


def check_forward(
    forward: Callable[..., Any], layers: dict[str, Layer]
) -> frozenset[str]:
    """The extras that `forward` accepts: the mode `train`, and a `key` of its own."""
    if not callable(forward) or isinstance(forward, Layer):
        raise TypeError(
            "compose: forward must be a function forward(x, **children), got "
            f"{type(forward).__name__}; to chain layers use serial"
        )
    if (signature := signature_of(forward)) is None:
        raise TypeError(
            "compose: forward must be a Python function forward(x, **children), got "
            f"{forward!r}, whose parameters are not known"
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


def input_of(child: str, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The input that `forward` gives a child."""
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
            f"a layer of several inputs takes them as one, as in {child}((x, y)), or "
            f"{child}(nn.AttentionInputs(query, key, value)) of an attention"
        )
    raise TypeError(
        f"compose: child {child!r} must be called with its input alone, as in "
        f"{child}(x), got {got}; {fix}"
    )


def check_pair(caller: str, made: Any, words: str) -> tuple[Any, Any]:
    """The pair that a child returned; an array of two rows would unpack as well."""
    if not isinstance(made, tuple) or len(made) != 2:
        raise TypeError(
            f"{caller}: a layer must return the pair {words}, got {type(made).__name__}"
        )
    return made


def check_made(caller: str, **held: Any) -> None:
    """Raises unless the params and the state that a child returned are dicts."""
    for kind, value in held.items():
        if not isinstance(value, dict):
            raise TypeError(
                f"{caller}: a layer must return {kind} as a dict, got "
                f"{type(value).__name__}; a layer without any returns {{}}"
            )


def check_names(held: dict[str, Any], layers: dict[str, Layer], kind: str) -> None:
    check_held(held, kind)
    unknown = held.keys() - layers.keys()
    if unknown:
        raise ValueError(
            f"apply: {kind} must hold names of children ({', '.join(layers)}), got "
            f"{', '.join(sorted(map(str, unknown)))}; were they made by this layer's "
            "init?"
        )
