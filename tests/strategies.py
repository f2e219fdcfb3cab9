"""What hypothesis draws: seeds, shapes, trees and layers. Arrays come from the seed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import mlx.core as mx
from hypothesis import strategies as st

from lucid_fn import nn, random, tree


class Pair(NamedTuple):
    """A named tuple to build trees of."""

    first: Any
    second: Any


FEATURES = 4
"""The size of the last axis of what the layers of `layers` take and return."""


def seeds() -> st.SearchStrategy[int]:
    """Seeds of keys."""
    return st.integers(0, 2**64 - 1)


def keys() -> st.SearchStrategy[mx.array]:
    """Keys of random numbers."""
    return seeds().map(random.key)


def shapes(
    min_dims: int = 0, max_dims: int = 3, max_size: int = 4
) -> st.SearchStrategy[tuple[int, ...]]:
    """Shapes without empty axes."""
    sizes = st.integers(1, max_size)
    return st.lists(sizes, min_size=min_dims, max_size=max_dims).map(tuple)


def arrays(
    shape: st.SearchStrategy[tuple[int, ...]] | None = None, bound: float = 3.0
) -> st.SearchStrategy[mx.array]:
    """Float arrays with values in `[-bound, bound)`."""
    return st.builds(
        lambda key, shape: random.uniform(key, shape, low=-bound, high=bound),
        keys(),
        shapes() if shape is None else shape,
    )


def trees(leaves: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[Any]:
    """Trees of all kinds of nodes, empty ones and `None` among them."""
    names = st.text("abcxyz_", min_size=1, max_size=3)

    def grow(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.one_of(
            st.dictionaries(names, inner, max_size=3),
            st.dictionaries(st.integers(0, 9), inner, max_size=2),
            st.lists(inner, max_size=3),
            st.lists(inner, max_size=3).map(tuple),
            st.builds(Pair, inner, inner),
        )

    leaf = st.integers(-9, 9) if leaves is None else leaves
    return st.recursive(st.one_of(leaf, st.none()), grow, max_leaves=8)


def params() -> st.SearchStrategy[dict[str, Any]]:
    """Nested dicts of arrays, none of them empty, as layers hold them."""
    names = st.text("abc", min_size=1, max_size=2)

    def grow(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.dictionaries(names, inner, min_size=1, max_size=3)

    return grow(st.recursive(arrays(), grow, max_leaves=6))


def reordered(draw: Callable[..., Any], values: Any) -> Any:
    """The same tree with the keys of its dicts inserted in another order."""
    if isinstance(values, dict):
        order = draw(st.permutations(list(values)))
        return {key: reordered(draw, values[key]) for key in order}
    if isinstance(values, Pair):
        return Pair(*(reordered(draw, value) for value in values))
    if isinstance(values, list | tuple):
        return type(values)(reordered(draw, value) for value in values)
    return values


def layers() -> st.SearchStrategy[nn.Layer]:
    """Layers from `(N, 4)` to `(N, 4)`, nested, with dropout and state among them."""
    leaf = st.sampled_from([nn.linear(FEATURES, FEATURES), nn.dropout(0.5), counter()])
    plain = st.sampled_from([mx.tanh, nn.identity]).map(nn.lift)

    def grow(inner: st.SearchStrategy[nn.Layer]) -> st.SearchStrategy[nn.Layer]:
        several = st.lists(inner, max_size=3)
        return st.one_of(
            several.map(lambda children: nn.serial(*children)),
            several.map(
                lambda children: nn.serial(
                    **{f"child{i}": child for i, child in enumerate(children)}
                )
            ),
            st.builds(nn.residual, inner),
            st.builds(nn.residual, inner, inner),
        )

    return st.recursive(st.one_of(leaf, plain), grow, max_leaves=5)


def counter() -> nn.Layer:
    """A layer with state: counts its calls in train mode, and adds the count to `x`."""

    def init(key: mx.array, /) -> tuple[dict[str, Any], dict[str, Any]]:
        return {}, {"calls": mx.array(0)}

    def apply(
        params: dict[str, Any],
        state: dict[str, Any],
        x: Any,
        /,
        *,
        train: bool,
        key: mx.array | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        calls = state["calls"]
        return x + calls, {"calls": calls + 1} if train else state

    return nn.Layer(init, apply)


def equal(a: Any, b: Any) -> bool:
    """Whether two trees have the same structure and bit-equal leaves."""
    first, second = tree.flatten(a), tree.flatten(b)
    return first[1] == second[1] and all(
        mx.array_equal(x, y, equal_nan=True).item()
        if isinstance(x, mx.array)
        else x == y
        for x, y in zip(first[0], second[0], strict=True)
    )
