"""Trees as lists of leaves, and back: `flatten`, `unflatten`, `leaves`, `paths`."""

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
"""Whether a node is a leaf."""


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


_DEEPEST_WALK = 4_000
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
        is_leaf: takes a node, and says whether it is a leaf, whatever it holds.

    Raises:
        TypeError: if a node is a dict of a type of its own, or has keys without order.
        ValueError: if the tree is hundreds of levels deep.

    Returns:
        The list of leaves, and a hashable structure that `unflatten` takes.

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
            structure = _take_apart(tree, out)
        else:
            structure = _take_apart_until(is_leaf, tree, out)
        hash(structure)  # so that whoever compares it need not look at its depth
    except RecursionError:
        raise too_deep() from None
    return out, structure


# The functions that call themselves are not nested in others: a closure that holds
# itself would keep the arrays it closes over until the garbage collector runs.
def _take_apart(node: Any, out: list[Any]) -> Structure:
    # Spelled out by kind, since every call of a compiled function comes by here.
    kind = type(node)
    if kind is mx.array:
        out.append(node)
        return _LEAF
    if kind is dict:
        keys = tuple(sorted_keys(node))
        parts = tuple([_take_apart(node[k], out) for k in keys])
        return _structure(Structure, (dict, keys, parts))
    entries = entries_of(node)
    if entries is None:
        out.append(node)
        return _LEAF
    if node is None:
        return _NONE
    kind, names, children = entries
    parts = tuple([_take_apart(child, out) for child in children])
    return _structure(Structure, (kind, tuple(names), parts))


def _take_apart_until(is_leaf: IsLeaf, node: Any, out: list[Any]) -> Structure:
    entries = None if is_leaf(node) else entries_of(node)
    if entries is None:
        out.append(node)
        return _LEAF
    kind, names, children = entries
    parts = tuple([_take_apart_until(is_leaf, child, out) for child in children])
    return Structure(kind, tuple(names), parts)


def _collect(node: Any, out: list[Any]) -> None:
    """The leaves alone, in half the time."""
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
    """How to take the leaves out of trees of one structure: see `collector`."""

    kind: Any
    size: int | None  # `None` for a dataclass, which has no length
    values: Callable[[Any], Any] | None  # of what is not a sequence, in order of keys
    children: tuple["Collector | None", ...] | None  # `None` where all are leaves


def collector(structure: Structure) -> Collector | None:
    """What `collect_as` needs to know of a structure; `None` for a leaf."""
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
    """A getter of several entries, also of a single one."""
    get: Callable[[Any], Any] = getter(*keys)
    return get if len(keys) > 1 else lambda node: (get(node),)


def _values_in_order(keys: tuple[Any, ...], node: Any) -> Any:
    if tuple(node) != keys:
        raise KeyError
    return node.values()


def collect_as(like: Collector, node: Any, out: list[Any]) -> bool:
    """Adds the leaves of a tree to `out`; `False` if its structure is another one.

    Takes a fourth of the time of `flatten` and a comparison. What stands at the place
    of a leaf is not looked at: whether it is one is the caller's to check.
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
        leaves: as many as the structure has places, in the order of `flatten`.

    Raises:
        ValueError: if there are more or fewer leaves than the structure has places.

    Example:
        >>> from lucid_fn import tree
        >>> _, structure = tree.flatten({"b": (1, 2), "a": None})
        >>> tree.unflatten(structure, [10, 20])
        {'a': None, 'b': (10, 20)}
    """
    places = _count(structure)
    if len(leaves) != places:
        raise ValueError(
            f"tree.unflatten: leaves must be {places} in number, got {len(leaves)}"
        )
    try:
        return _fill(structure, iter(leaves))
    except RecursionError:
        raise too_deep() from None


def _count(structure: Structure) -> int:
    if structure.kind is object:
        return 1
    return sum([_count(child) for child in structure.children])


def _fill(structure: Structure, leaves: Iterator[Any]) -> Any:
    if structure.kind is object:
        return next(leaves)
    children = [_fill(child, leaves) for child in structure.children]
    return build(structure.kind, children, structure.keys)


def check_depth(tree: Tree) -> None:
    """Raises if a tree is hundreds of levels deep, or holds itself.

    For values that MLX takes apart itself, with no limit other than the stack.
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
    """The paths and the leaves."""
    found: list[tuple[str, Any]] = []
    todo: list[tuple[tuple[Any, ...], Any]] = [((), tree)]
    while todo:
        path, node = todo.pop()
        if len(path) > _DEEPEST_WALK:  # does the tree hold itself?
            raise too_deep()
        entries = entries_of(node)
        if entries is None:
            found.append((join(path), node))
        else:
            pairs = zip(entries[1], entries[2], strict=True)
            todo += [((*path, key), child) for key, child in pairs][::-1]
    return found


def leaves(tree: Tree, /, *, is_leaf: IsLeaf | None = None) -> list[Any]:
    """The leaves, in order: of each dict by its sorted keys, of a sequence by place.

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
