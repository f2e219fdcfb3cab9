"""Taking trees apart, building them, and mapping over them."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn.types import Tree


class Structure(NamedTuple):
    """What is left of a tree when its leaves are taken out; hashable.

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


_structure = tuple.__new__  # a named tuple's own constructor takes twice as long
_LEAF = Structure(object, (), ())
_NONE = Structure(type(None), (), ())


def _sorted_keys(node: dict[Any, Any]) -> list[Any]:
    try:
        return sorted(node)
    except TypeError:
        raise TypeError(
            "tree: the keys of a dict must be of one kind, such as str, to have an "
            f"order, got {', '.join(repr(key) for key in node)}"
        ) from None


def entries_of(node: Any) -> tuple[type, list[Any], list[Any]] | None:
    """The kind, keys and children of an inner node; `None` for a leaf."""
    kind = type(node)
    if isinstance(node, dict):
        keys = _sorted_keys(node)
        return dict, keys, [node[k] for k in keys]
    if isinstance(node, tuple) and hasattr(kind, "_fields"):
        return kind, list(kind._fields), list(node)
    if isinstance(node, list | tuple):
        return kind, list(range(len(node))), list(node)
    if node is None:
        return type(None), [], []
    return None


def build(kind: type, children: list[Any], keys: tuple[Any, ...] | list[Any]) -> Any:
    if kind is dict:
        return dict(zip(keys, children, strict=True))
    if kind is type(None):
        return None
    return kind(*children) if hasattr(kind, "_fields") else kind(children)


def flatten(tree: Tree, /) -> tuple[list[Any], Structure]:
    """The leaves of a tree, and what is needed to build it again from others.

    Args:
        tree: any tree.

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
    structure = _take_apart(tree, out)
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
        keys = tuple(_sorted_keys(node))
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


def _collect(node: Any, out: list[Any]) -> None:
    """The leaves alone, in half the time."""
    kind = type(node)
    if kind is mx.array:
        out.append(node)
    elif kind is dict:
        for key in _sorted_keys(node):
            _collect(node[key], out)
    else:
        entries = entries_of(node)
        if entries is None:
            out.append(node)
        else:
            for child in entries[2]:
                _collect(child, out)


def collect_as(structure: Structure, node: Any, out: list[Any]) -> bool:
    """Adds the leaves of a tree to `out`; `False` if its structure is another one.

    Takes less than half the time of `flatten` and a comparison. What stands at the
    place of a leaf is not looked at: whether it is one is the caller's to check.
    """
    kind: Any
    kind, keys, children = structure
    if type(node) is not kind:
        return False
    if kind is type(None):
        return True
    if len(node) != len(keys):
        return False
    if kind is dict:
        try:
            node = [node[key] for key in keys]
        except KeyError:
            return False
    for child, value in zip(children, node):  # noqa: B905  # strict takes time
        if child is _LEAF:
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
    return _fill(structure, iter(leaves))


def _count(structure: Structure) -> int:
    if structure.kind is object:
        return 1
    return sum([_count(child) for child in structure.children])


def _fill(structure: Structure, leaves: Iterator[Any]) -> Any:
    if structure.kind is object:
        return next(leaves)
    children = [_fill(child, leaves) for child in structure.children]
    return build(structure.kind, children, structure.keys)


def join(path: tuple[Any, ...]) -> str:
    return ".".join(str(part) for part in path)


def describe(node: Any) -> str:
    """A node's kind and keys, for messages."""
    entries = entries_of(node)
    if entries is None:
        shape = f" of shape {node.shape}" if isinstance(node, mx.array) else ""
        return f"a leaf ({type(node).__name__}{shape})"
    kind, keys, _ = entries
    name = "None" if kind is type(None) else kind.__name__
    return f"{name}({', '.join(str(k) for k in keys)})"


def _difference(
    a: Tree, b: Tree, path: tuple[Any, ...] = ()
) -> tuple[tuple[Any, ...], Any, Any] | None:
    """The first place where two trees differ in structure, and what is there."""
    ours, theirs = entries_of(a), entries_of(b)
    if (ours and ours[:2]) != (theirs and theirs[:2]):
        return path, a, b
    if ours and theirs:
        for key, x, y in zip(*ours[1:], theirs[2], strict=True):
            if found := _difference(x, y, (*path, key)):
                return found
    return None


def map(
    fn: Callable[..., Any], tree: Tree, /, *rest: Tree, caller: str = "tree.map"
) -> Tree:
    """The tree of `fn(leaf, *leaves of rest at the same place)`.

    Unlike `mlx.utils.tree_map` it accepts no tree with other keys than the first.

    Args:
        fn: called once a leaf.
        tree: gives the result its structure, and its order of keys.
        rest: trees of the same structure.
        caller: the name that errors begin with.

    Raises:
        ValueError: if the structures differ; the message names the first path where.

    Example:
        >>> from lucid_fn import tree
        >>> a, b = {"w": 1, "b": [2, 3]}, {"w": 10, "b": [20, 30]}
        >>> tree.map(lambda x, y: x + y, a, b)
        {'w': 11, 'b': [22, 33]}
    """
    first, structure = flatten(tree)
    columns = [first]
    for other in rest:
        column, found = flatten(other)
        if found != structure:
            # The structures differ, so there is a place where.
            path, a, b = _difference(tree, other)  # type: ignore[misc]
            where = f" at {join(path)}" if path else ""
            raise ValueError(
                f"{caller}: structures differ{where}: {describe(a)} and {describe(b)}"
            )
        columns.append(column)
    results = [fn(*leaves) for leaves in zip(*columns, strict=True)]
    return _like(tree, iter(results))


def _like(node: Any, leaves: Iterator[Any]) -> Any:
    """The tree with other leaves, in the same order of insertion."""
    if type(node) is mx.array:
        return next(leaves)
    entries = entries_of(node)
    if entries is None:
        return next(leaves)
    kind, keys, children = entries
    built = [_like(child, leaves) for child in children]
    if kind is dict:
        by_key = dict(zip(keys, built, strict=True))
        return {key: by_key[key] for key in node}
    return build(kind, built, keys)


def map_with_path(
    fn: Callable[..., Any], tree: Tree, /, *rest: Tree, caller: str = "tree.map"
) -> Tree:
    """The tree of `fn(path, leaf, *leaves of rest at the same place)`.

    Args:
        fn: called with the dotted path first.
        tree: gives the result its structure, and its order of keys.
        rest: trees of the same structure.
        caller: the name that errors begin with.

    Raises:
        ValueError: if the structures differ; the message names the first path where.

    Example:
        >>> from lucid_fn import tree
        >>> tree.map_with_path(lambda path, x: f"{path}={x}", {"a": 1, "b": [2]})
        {'a': 'a=1', 'b': ['b.0=2']}
    """
    names = iter(paths(tree))
    return map(lambda *leaves: fn(next(names), *leaves), tree, *rest, caller=caller)


def walk(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[str, Any]]:
    entries = entries_of(node)
    if entries is None:
        yield join(path), node
        return
    _, keys, children = entries
    for key, child in zip(keys, children, strict=True):
        yield from walk(child, (*path, key))


def leaves(tree: Tree, /) -> list[Any]:
    """The leaves, in order: of each dict by its sorted keys, of a sequence by place.

    Args:
        tree: any tree.

    Example:
        >>> from lucid_fn import tree
        >>> tree.leaves({"b": (2, None), "a": 1})
        [1, 2]
    """
    out: list[Any] = []
    _collect(tree, out)
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
