"""Replacing layers inside of other layers: `map_layers`."""

from collections.abc import Callable

from lucid_fn.nn.core.layer import Layer


def map_layers(
    fn: Callable[[str, Layer], Layer], layer: Layer, path: str = ""
) -> Layer:
    """`layer` with `fn(path, inner)` in place of each inner layer, innermost first.

    Inner layers are the children of combinators, by their dotted paths; `layer` itself
    has the path `""`. What wrappers such as `frozen` hold is not reached.
    """
    before = children_of(layer)
    start = f"{path}." if path else ""
    after = {
        name: map_layers(fn, inner, start + name) for name, inner in before.items()
    }
    if any(after[name] is not before[name] for name in before):
        layer = with_children(layer, after)
    return fn(path, layer)


def children_of(layer: Layer) -> dict[str, Layer]:
    """The named layers that a combinator made `layer` of; none of any other layer."""
    children: dict[str, Layer] = getattr(layer.apply, "children", {})
    return children


def with_children(layer: Layer, children: dict[str, Layer]) -> Layer:
    """A layer made like `layer`, of other children under the same names."""
    rebuilt: Layer = layer.apply.rebuild(children)  # type: ignore[attr-defined]
    for note in ("made_by", "without_flatten", "without_head"):
        if hasattr(layer.apply, note):
            setattr(rebuilt.apply, note, getattr(layer.apply, note))
    return rebuilt
