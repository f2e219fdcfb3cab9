"""`flatten`, `unflatten`, `leaves` and `paths`."""

import functools
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from operator import attrgetter, itemgetter
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn.tree.nodes import build, entries_of, fields_of, sorted_keys
from lucid_fn.types import Tree

IsLeaf: TypeAlias = Callable[[Any], bool]
"""Predicate of nodes that are to be treated as leaves."""


class Structure(NamedTuple):
    """The structure of a tree without its leaves; hashable.

    A leaf has the kind `object` and a `None` the kind `NoneType`.
    """

    kind: type
    keys: tuple[Any, ...]
    children: tuple["Structure", ...]

    def __repr__(self) -> str:
        if self.kind is object:
            return "*"
        if not self.keys and not self.children:
            return f"{self.kind.__name__}()"
        inner = ", ".join(
            f"{k}: {c!r}" for k, c in zip(self.keys, self.children, strict=True)
        )
        return f"{self.kind.__name__}({inner})"


_MAX_DEPTH = 4_000
_structure = tuple.__new__  # a named tuple's own constructor takes twice as long
_LEAF = Structure(object, (), ())
_NONE = Structure(type(None), (), ())


def too_deep() -> ValueError:
    return ValueError(
        "tree: trees must be nested a few hundred levels deep at most (Python's "
        f"recursion limit is {sys.getrecursionlimit()}), got a deeper one"
    )


def flatten(
    tree: Tree, /, *, is_leaf: IsLeaf | None = None
) -> tuple[list[Any], Structure]:
    """Splits a tree into its leaves and its structure; `unflatten` is the inverse.

    Args:
        tree: any tree.
        is_leaf: predicate of nodes: those for which it is true are leaves.

    Returns:
        The list of leaves, and a hashable structure that `unflatten` takes.

    Raises:
        TypeError: if a node is of a subclass of dict, or has keys without an order.
        ValueError: if the tree is hundreds of levels deep.

    Example:
        >>> from lucid_fn import tree
        >>> leaves, structure = tree.flatten({"b": [1, 2], "a": 3})
        >>> leaves
        [3, 1, 2]
        >>> tree.unflatten(structure, [x * 10 for x in leaves])
        {'a': 30, 'b': [10, 20]}
    """
    out: list[Any] = []
    try:
        if is_leaf is None:
            structure = _flatten(tree, out)
        else:
            structure = _flatten_until(is_leaf, tree, out)
        hash(structure)  # fails here if it is too deep, not where it is compared
    except RecursionError:
        raise too_deep() from None
    return out, structure


# Recursive functions are not nested in others: a closure that refers to itself keeps
# the arrays it closes over alive until the garbage collector runs.
def _flatten(node: Any, out: list[Any]) -> Structure:
    # Arrays and dicts come first, since compiled functions flatten at every call.
    kind = type(node)
    if kind is mx.array:
        out.append(node)
        return _LEAF
    if kind is dict:
        keys = tuple(sorted_keys(node))
        parts = tuple([_flatten(node[k], out) for k in keys])
        return _structure(Structure, (dict, keys, parts))
    entries = entries_of(node)
    if entries is None:
        out.append(node)
        return _LEAF
    if node is None:
        return _NONE
    kind, names, children = entries
    parts = tuple([_flatten(child, out) for child in children])
    return _structure(Structure, (kind, tuple(names), parts))


def _flatten_until(is_leaf: IsLeaf, node: Any, out: list[Any]) -> Structure:
    entries = None if is_leaf(node) else entries_of(node)
    if entries is None:
        out.append(node)
        return _LEAF
    kind, names, children = entries
    parts = tuple([_flatten_until(is_leaf, child, out) for child in children])
    return Structure(kind, tuple(names), parts)


def _collect(node: Any, out: list[Any]) -> None:
    """Appends the leaves to `out`: half of the time of `_flatten`."""
    kind = type(node)
    if kind is mx.array:
        out.append(node)
    elif kind is dict:
        for key in sorted_keys(node):
            _collect(node[key], out)
    else:
        entries = entries_of(node)
        if entries is None:
            out.append(node)
        else:
            for child in entries[2]:
                _collect(child, out)


class Collector(NamedTuple):
    """A plan to collect the leaves of trees of one structure: see `collector`."""

    kind: Any
    size: int | None  # `None` for a dataclass, which has no length
    values: Callable[[Any], Any] | None  # of a node that is no sequence, by its keys
    children: tuple["Collector | None", ...] | None  # `None` where all are leaves


def collector(structure: Structure) -> Collector | None:
    """The plan of `collect_as` for trees of this structure; `None` for a leaf."""
    kind, keys, children = structure
    if kind is object:
        return None
    inner = tuple([collector(child) for child in children])
    values: Callable[[Any], Any] | None = None
    if kind is dict and keys:
        values = _getter(itemgetter, keys)
    elif kind is OrderedDict:
        values = functools.partial(_values_in_order, keys)
    size = None if fields_of(kind) else len(keys)
    if size is None:
        values = _getter(attrgetter, keys)
    return Collector(kind, size, values, inner if any(inner) else None)


def _getter(getter: Any, keys: tuple[Any, ...]) -> Callable[[Any], Any]:
    """A getter that returns a tuple, also of a single entry."""
    get: Callable[[Any], Any] = getter(*keys)
    return get if len(keys) > 1 else lambda node: (get(node),)


def _values_in_order(keys: tuple[Any, ...], node: Any) -> Any:
    if tuple(node) != keys:
        raise KeyError
    return node.values()


def collect_as(like: Collector, node: Any, out: list[Any]) -> bool:
    """Appends the leaves of a tree to `out`; `False` if it has another structure.

    This takes a quarter of the time of `flatten` and a comparison. What stands in the
    place of a leaf is not inspected: the caller must check that it is one.
    """
    kind, size, values, children = like
    if type(node) is not kind:
        return False
    if kind is type(None):
        return True
    if size is not None and len(node) != size:
        return False
    if values is not None:
        try:
            node = values(node)
        except KeyError:
            return False
    if children is None:
        out += node
        return True
    for child, value in zip(children, node):  # noqa: B905  # strict takes time
        if child is None:
            out.append(value)
        elif not collect_as(child, value, out):
            return False
    return True


def unflatten(structure: Structure, leaves: list[Any], /) -> Tree:
    """The tree of `structure` with these leaves; the inverse of `flatten`.

    Args:
        structure: what `flatten` returned beside the leaves.
        leaves: one for each leaf of the structure, in the order of `flatten`.

    Raises:
        ValueError: if there are more or fewer leaves than the structure has.

    Example:
        >>> from lucid_fn import tree
        >>> _, structure = tree.flatten({"b": (1, 2), "a": None})
        >>> tree.unflatten(structure, [10, 20])
        {'a': None, 'b': (10, 20)}
    """
    expected = _num_leaves(structure)
    if len(leaves) != expected:
        raise ValueError(
            f"tree.unflatten: leaves must have length {expected}, got {len(leaves)}"
        )
    try:
        return _fill(structure, iter(leaves))
    except RecursionError:
        raise too_deep() from None


def _num_leaves(structure: Structure) -> int:
    if structure.kind is object:
        return 1
    return sum([_num_leaves(child) for child in structure.children])


def _fill(structure: Structure, leaves: Iterator[Any]) -> Any:
    if structure.kind is object:
        return next(leaves)
    children = [_fill(child, leaves) for child in structure.children]
    return build(structure.kind, children, structure.keys)


def check_depth(tree: Tree) -> None:
    """Raises if a tree is hundreds of levels deep, or holds itself.

    For values that MLX flattens itself, where an overflow of the stack is fatal.
    """
    try:
        _descend(tree)
    except RecursionError:
        raise too_deep() from None


def _descend(node: Any) -> None:
    if isinstance(node, dict | list | tuple):
        for child in node.values() if isinstance(node, dict) else node:
            _descend(child)


def join(path: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in path)


def walk(tree: Tree) -> list[tuple[str, Any]]:
    """The dotted path of each leaf, and the leaf."""
    found: list[tuple[str, Any]] = []
    todo: list[tuple[tuple[Any, ...], Any]] = [((), tree)]
    while todo:
        path, node = todo.pop()
        if len(path) > _MAX_DEPTH:  # the tree may hold itself
            raise too_deep()
        entries = entries_of(node)
        if entries is None:
            found.append((join(path), node))
        else:
            pairs = zip(entries[1], entries[2], strict=True)
            todo += [((*path, key), child) for key, child in pairs][::-1]
    return found


def leaves(tree: Tree, /, *, is_leaf: IsLeaf | None = None) -> list[Any]:
    """The leaves in order: those of dicts by sorted keys, those of sequences by index.

    Args:
        tree: any tree.
        is_leaf: as in `flatten`.

    Example:
        >>> from lucid_fn import tree
        >>> tree.leaves({"b": (2, None), "a": 1})
        [1, 2]
    """
    if is_leaf is not None:
        return flatten(tree, is_leaf=is_leaf)[0]
    out: list[Any] = []
    try:
        _collect(tree, out)
    except RecursionError:
        raise too_deep() from None
    return out


def paths(tree: Tree, /) -> list[str]:
    """The dotted path of each leaf, in the order of `leaves`.

    Args:
        tree: any tree.

    Example:
        >>> from lucid_fn import tree
        >>> tree.paths({"fc": {"weight": 0, "bias": 0}, "steps": [1]})
        ['fc.bias', 'fc.weight', 'steps.0']
    """
    return [path for path, _ in walk(tree)]
