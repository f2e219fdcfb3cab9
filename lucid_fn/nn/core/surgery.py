"""Replacing layers inside of other layers: `map_layers`."""

from collections.abc import Callable

from lucid_fn.nn.core.layer import Layer


def map_layers(
    fn: Callable[[str, Layer], Layer], layer: Layer, path: str = ""
) -> Layer:
    """`layer` with each inner layer replaced by `fn(path, inner)`, innermost first.

    Inner layers are the children of combinators, by their dotted paths; `layer` itself
    has the path `""`. Layers inside of wrappers such as `frozen` are not replaced.
    """
    before = children_of(layer)
    prefix = f"{path}." if path else ""
    after = {
        name: map_layers(fn, inner, prefix + name) for name, inner in before.items()
    }
    if any(after[name] is not before[name] for name in before):
        layer = with_children(layer, after)
    return fn(path, layer)


def children_of(layer: Layer) -> dict[str, Layer]:
    """The children of a layer made by a combinator; none for other layers."""
    children: dict[str, Layer] = getattr(layer.apply, "children", {})
    return children


def with_children(layer: Layer, children: dict[str, Layer]) -> Layer:
    """`layer` with other children under the same names."""
    rebuilt: Layer = layer.apply.rebuild(children)  # type: ignore[attr-defined]
    for note in ("made_by", "without_flatten", "without_head"):
        if hasattr(layer.apply, note):
            setattr(rebuilt.apply, note, getattr(layer.apply, note))
    return rebuilt
