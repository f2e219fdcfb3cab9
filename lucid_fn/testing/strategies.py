"""Hypothesis strategies for keys, arrays and trees of them.

They need `pip install hypothesis`, which is imported when a strategy is made.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import mlx.core as mx

from lucid_fn import random
from lucid_fn.types import Array, Key, Tree

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["Pair", "arrays", "keys", "params", "reordered", "seeds", "shapes", "trees"]


class Pair(NamedTuple):
    """The named tuple among the nodes of `trees`."""

    first: Any
    second: Any


def seeds() -> "SearchStrategy[int]":
    """Seeds of keys, from 0 to 2**64 - 1.

    Example:
        >>> from lucid_fn.testing import strategies
        >>> seeds = strategies.seeds()
    """
    from hypothesis import strategies as st

    return st.integers(0, 2**64 - 1)


def keys() -> "SearchStrategy[Key]":
    """Random keys.

    Example:
        >>> from lucid_fn.testing import strategies
        >>> keys = strategies.keys()
    """
    return seeds().map(random.key)


def shapes(
    min_dims: int = 0, max_dims: int = 3, max_size: int = 4
) -> "SearchStrategy[tuple[int, ...]]":
    """Shapes without empty axes.

    Args:
        min_dims: minimum number of axes.
        max_dims: maximum number of axes.
        max_size: maximum size of an axis.

    Example:
        >>> from lucid_fn.testing import strategies
        >>> shapes = strategies.shapes(min_dims=1)
    """
    from hypothesis import strategies as st

    sizes = st.integers(1, max_size)
    return st.lists(sizes, min_size=min_dims, max_size=max_dims).map(tuple)


def arrays(
    shape: "tuple[int, ...] | SearchStrategy[tuple[int, ...]] | None" = None,
    bound: float = 3.0,
    dtype: mx.Dtype = mx.float32,
) -> "SearchStrategy[Array]":
    """Float arrays with values in `[-bound, bound)`.

    Args:
        shape: a shape, or a strategy of shapes; `shapes()` by default.
        bound: bound of the values.
        dtype: a float dtype.

    Example:
        >>> from hypothesis import given
        >>> from lucid_fn import nn, testing
        >>> from lucid_fn.testing import strategies
        >>> @given(x=strategies.arrays((4, 3)))
        ... def test_my_layer(x):
        ...     testing.check_layer(nn.linear(3, 2), x)
    """
    from hypothesis import strategies as st

    drawn = st.just(shape) if isinstance(shape, tuple) else shape
    return st.builds(
        lambda key, shape: random.uniform(key, shape, low=-bound, high=bound).astype(
            dtype
        ),
        keys(),
        shapes() if drawn is None else drawn,
    )


def trees(leaves: "SearchStrategy[Any] | None" = None) -> "SearchStrategy[Tree]":
    """Trees of dicts, lists, (named) tuples and `None`, empty ones among them.

    Args:
        leaves: a strategy of leaves; `arrays()` by default.

    Example:
        >>> from lucid_fn.testing import strategies
        >>> trees = strategies.trees()
    """
    from hypothesis import strategies as st

    names = st.text("abcxyz_", min_size=1, max_size=3)

    def grow(inner: "SearchStrategy[Any]") -> "SearchStrategy[Any]":
        return st.one_of(
            st.dictionaries(names, inner, max_size=3),
            st.dictionaries(st.integers(0, 9), inner, max_size=2),
            st.lists(inner, max_size=3),
            st.lists(inner, max_size=3).map(tuple),
            st.builds(Pair, inner, inner),
        )

    leaf = arrays() if leaves is None else leaves
    return st.recursive(st.one_of(leaf, st.none()), grow, max_leaves=8)


def params() -> "SearchStrategy[dict[str, Any]]":
    """Nested dicts of arrays, none of them empty, as layers hold them.

    Example:
        >>> from lucid_fn.testing import strategies
        >>> params = strategies.params()
    """
    from hypothesis import strategies as st

    names = st.text("abc", min_size=1, max_size=2)

    def grow(inner: "SearchStrategy[Any]") -> "SearchStrategy[Any]":
        return st.dictionaries(names, inner, min_size=1, max_size=3)

    return grow(st.recursive(arrays(), grow, max_leaves=6))


def reordered(draw: Callable[..., Any], values: Tree) -> Tree:
    """The same tree, with the keys of its dicts inserted in a drawn order.

    Args:
        draw: the `draw` of `hypothesis.strategies.composite` or `data`.
        values: any tree.

    Example:
        >>> from hypothesis import given, strategies as st
        >>> from lucid_fn import tree
        >>> from lucid_fn.testing import strategies
        >>> @given(data=st.data(), values=strategies.trees())
        ... def test_order_does_not_matter(data, values):
        ...     other = strategies.reordered(data.draw, values)
        ...     assert tree.paths(other) == tree.paths(values)
    """
    if isinstance(values, dict):
        from hypothesis import strategies as st

        order = draw(st.permutations(list(values)))
        return {key: reordered(draw, values[key]) for key in order}
    if isinstance(values, tuple) and hasattr(values, "_make"):
        return values._make(reordered(draw, value) for value in values)
    if isinstance(values, list | tuple):
        return type(values)(reordered(draw, value) for value in values)
    return values
