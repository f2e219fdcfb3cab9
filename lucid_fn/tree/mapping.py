"""Functions over the leaves of trees of one structure."""

from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx

from lucid_fn.tree.nodes import build, entries_of
from lucid_fn.tree.structure import IsLeaf, flatten, join, paths, too_deep
from lucid_fn.types import Tree


def map(
    fn: Callable[..., Any],
    tree: Tree,
    /,
    *rest: Tree,
    is_leaf: IsLeaf | None = None,
    caller: str = "tree.map",
) -> Tree:
    """Maps `fn` over the leaves of one tree, or of several of the same structure.

    Unlike `mlx.utils.tree_map`, it requires that all trees have the same keys.

    Args:
        fn: called once per leaf, with the leaves of all trees at one place.
        tree: gives the result its structure, and its order of keys.
        rest: trees of the same structure.
        is_leaf: as in `flatten`, for all trees.
        caller: the name that errors begin with.

    Raises:
        ValueError: if the structures differ; the message names the first difference.

    Example:
        >>> from lucid_fn import tree
        >>> a, b = {"w": 1, "b": [2, 3]}, {"w": 10, "b": [20, 30]}
        >>> tree.map(lambda x, y: x + y, a, b)
        {'w': 11, 'b': [22, 33]}
    """
    first, structure = flatten(tree, is_leaf=is_leaf)
    columns = [first]
    for other in rest:
        column, found = flatten(other, is_leaf=is_leaf)
        if found != structure:
            path, a, b = difference(tree, other, is_leaf)  # type: ignore[misc]  # not None
            where = f" at {join(path)}" if path else ""
            raise ValueError(
                f"{caller}: structures differ{where}: {describe(a)} and {describe(b)}"
            )
        columns.append(column)
    results = [fn(*leaves) for leaves in zip(*columns, strict=True)]
    try:
        return _with_leaves(tree, iter(results), is_leaf)
    except RecursionError:
        raise too_deep() from None


def _with_leaves(node: Any, leaves: Iterator[Any], is_leaf: IsLeaf | None) -> Any:
    """The tree with other leaves; dicts keep their order of insertion."""
    if type(node) is mx.array:
        return next(leaves)
    entries = None if is_leaf is not None and is_leaf(node) else entries_of(node)
    if entries is None:
        return next(leaves)
    kind, keys, children = entries
    built = [_with_leaves(child, leaves, is_leaf) for child in children]
    if kind is dict:
        by_key = dict(zip(keys, built, strict=True))
        return {key: by_key[key] for key in node}
    return build(kind, built, keys)


def map_with_path(
    fn: Callable[..., Any], tree: Tree, /, *rest: Tree, caller: str = "tree.map"
) -> Tree:
    """Maps `fn(path, leaf, *leaves of rest)` over the leaves of trees.

    Args:
        fn: called once per leaf, with its dotted path first.
        tree: gives the result its structure, and its order of keys.
        rest: trees of the same structure.
        caller: the name that errors begin with.

    Raises:
        ValueError: if the structures differ; the message names the first difference.

    Example:
        >>> from lucid_fn import tree
        >>> tree.map_with_path(lambda path, x: f"{path}={x}", {"a": 1, "b": [2]})
        {'a': 'a=1', 'b': ['b.0=2']}
    """
    names = iter(paths(tree))
    return map(lambda *leaves: fn(next(names), *leaves), tree, *rest, caller=caller)


def describe(node: Any) -> str:
    """A node's kind and keys, for messages."""
    entries = entries_of(node)
    if entries is None:
        shape = f" of shape {node.shape}" if isinstance(node, mx.array) else ""
        return f"a leaf ({type(node).__name__}{shape})"
    kind, keys, _ = entries
    name = "None" if kind is type(None) else kind.__name__
    return f"{name}({', '.join(str(k) for k in keys)})"


def difference(
    a: Tree, b: Tree, is_leaf: IsLeaf | None, path: tuple[Any, ...] = ()
) -> tuple[tuple[Any, ...], Any, Any] | None:
    """The path of the first difference in structure, and both nodes there."""
    ours, theirs = (
        None if is_leaf is not None and is_leaf(node) else entries_of(node)
        for node in (a, b)
    )
    if (ours and ours[:2]) != (theirs and theirs[:2]):
        return path, a, b
    if ours and theirs:
        for key, x, y in zip(*ours[1:], theirs[2], strict=True):
            if found := difference(x, y, is_leaf, (*path, key)):
                return found
    return None
