"""What hypothesis draws: seeds, shapes, trees and layers. Arrays come from the seed."""

from typing import Any

import mlx.core as mx
from hypothesis import strategies as st

from lucid_fn import nn, tree
from lucid_fn.testing import strategies
from lucid_fn.testing.strategies import (
    Pair,
    arrays,
    keys,
    params,
    reordered,
    seeds,
    shapes,
)

__all__ = [
    "FEATURES",
    "Pair",
    "arrays",
    "counter",
    "equal",
    "keys",
    "layers",
    "params",
    "reordered",
    "seeds",
    "shapes",
    "trees",
]


FEATURES = 4
"""The size of the last axis of what the layers of `layers` take and return."""


def trees(leaves: st.SearchStrategy[Any] | None = None) -> st.SearchStrategy[Any]:
    """Trees of all kinds of nodes, with integers as leaves."""
    return strategies.trees(st.integers(-9, 9) if leaves is None else leaves)


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
