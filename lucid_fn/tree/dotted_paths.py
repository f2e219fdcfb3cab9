"""Trees by dotted path: flat dicts of leaves, `at`, `partition` and `merge`."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn.checks import check_function, check_type, signature_of
from lucid_fn.tree.mapping import describe, map_with_path
from lucid_fn.tree.nodes import build, entries_of
from lucid_fn.tree.structure import join, too_deep, walk
from lucid_fn.types import Array, Tree


def named_leaves(tree: Tree, /) -> dict[str, Any]:
    """A flat dict of the leaves by dotted path, as in a checkpoint.

    Args:
        tree: any tree.

    Raises:
        ValueError: if two leaves have the same dotted path, as in
            `{"a.b": x, "a": {"b": y}}`.

    Example:
        >>> from lucid_fn import tree
        >>> tree.named_leaves({"fc": {"weight": 1, "bias": 2}})
        {'fc.bias': 2, 'fc.weight': 1}
    """
    flat: dict[str, Any] = {}
    for path, leaf in walk(tree):
        if path in flat:
            raise ValueError(f"tree.named_leaves: two leaves have the path {path!r}")
        flat[path] = leaf
    return flat


def _kind(leaf: Any) -> str:
    """The dtype and shape of an array, which its replacement must share; or a type."""
    if isinstance(leaf, mx.array):
        return f"{leaf.dtype} {leaf.shape}".replace("mlx.core.", "")
    return type(leaf).__name__


def restore(
    template: Tree, flat: Mapping[str, Array], /, *, caller: str = "tree.restore"
) -> Tree:
    """The tree of `template` with the arrays that `flat` holds under its paths.

    Args:
        template: a tree of arrays; their values do not matter.
        flat: arrays by dotted path, as `named_leaves` gives them.
        caller: the name that errors begin with.

    Raises:
        TypeError: if `flat` is not a dict.
        ValueError: if a path is missing or unexpected, or if a shape or a dtype is
            not the template's; the message lists all of them.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import tree
        >>> template = {"fc": {"weight": mx.zeros((2,))}}
        >>> tree.restore(template, {"fc.weight": mx.array([1.0, 2.0])})
        {'fc': {'weight': array([1, 2], dtype=float32)}}
    """
    check_type(caller, "flat", flat, Mapping, "a dict of arrays by path")
    expected = named_leaves(template)
    problems = [f"missing: {path}" for path in expected if path not in flat]
    problems += [f"unexpected: {path}" for path in flat if path not in expected]
    for path in expected.keys() & flat.keys():
        want, got = _kind(expected[path]), _kind(flat[path])
        if want != got:
            problems.append(f"{path}: must be {want}, got {got}")
    if problems:
        shown = sorted(problems)[:20]
        more = len(problems) - len(shown)
        lines = shown + ([f"... and {more} more"] if more else [])
        raise ValueError(
            f"{caller}: the arrays do not fit the template\n  " + "\n  ".join(lines)
        )
    return map_with_path(lambda path, _: flat[path], template)


def partition(predicate: Callable[..., bool], tree: Tree, /) -> tuple[Tree, Tree]:
    """Splits a tree in two: the leaves that satisfy `predicate`, and the others.

    Dicts hold only the leaves of their half, and dicts without any are left out, so
    both halves can be given to `grad` and to an optimizer. In lists and tuples, where
    indices must not change, `None` stands for a leaf of the other half. `merge` is the
    inverse.

    Args:
        predicate: takes the dotted path, or the path and the leaf.
        tree: any tree, such as params.

    Raises:
        TypeError: if `predicate` is not a function, or the tree is a leaf.

    Example:
        >>> from lucid_fn import tree
        >>> params = {"body": {"weight": 1, "bias": 2}, "head": {"weight": 3}}
        >>> tree.partition(lambda path: path.startswith("head"), params)
        ({'head': {'weight': 3}}, {'body': {'weight': 1, 'bias': 2}})
        >>> tree.partition(lambda path, leaf: leaf > 1, {"layers": [1, 2, None]})
        ({'layers': [None, 2, None]}, {'layers': [1, None, None]})
    """
    check_function(
        "tree.partition",
        "predicate",
        predicate,
        kinds="a function of the dotted path, or of the path and the leaf",
        fix="write tree.partition(predicate, tree), such as "
        'tree.partition(lambda path: path.startswith("head"), params)',
    )
    if entries_of(tree) is None:
        raise TypeError(f"tree.partition: tree must have leaves, got {describe(tree)}")
    chosen = predicate if _takes_leaf(predicate) else lambda path, _: predicate(path)
    try:
        return _split(chosen, tree, ())
    except RecursionError:
        raise too_deep() from None


def _takes_leaf(predicate: Callable[..., bool]) -> bool:
    """Whether the predicate has two required positional parameters."""
    signature = signature_of(predicate)
    parameters = () if signature is None else signature.parameters.values()
    positional = [
        p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    return len([p for p in positional if p.default is p.empty]) > 1


def _split(
    predicate: Callable[[str, Any], bool], node: Tree, path: tuple[Any, ...]
) -> tuple[Any, Any]:
    """Both halves of an inner node; below the root, an empty half is `_ABSENT`."""
    kind, keys, children = entries_of(node)  # type: ignore[misc]  # not of a leaf
    halves: tuple[list[Any], list[Any]] = ([], [])
    for key, child in zip(keys, children, strict=True):
        below = (*path, key)
        if not (entries := entries_of(child)):
            first = bool(predicate(join(below), child))
            pair = (child, _ABSENT) if first else (_ABSENT, child)
        elif not entries[2]:  # no leaves: kept in the second half
            pair = (_ABSENT, child)
        else:
            pair = _split(predicate, child, below)
        for half, part in zip(halves, pair, strict=True):
            half.append(part)
    if path and all(part is _ABSENT for part in halves[1]):
        return _half(node, kind, keys, halves[0]), _ABSENT
    if path and all(part is _ABSENT for part in halves[0]):
        return _ABSENT, _half(node, kind, keys, halves[1])
    first, second = (_half(node, kind, keys, half) for half in halves)
    return first, second


_ABSENT: Any = object()


def _half(node: Tree, kind: type, keys: list[Any], parts: list[Any]) -> Any:
    if isinstance(node, dict):
        held = dict(zip(keys, parts, strict=True))
        return kind((k, held[k]) for k in node if held[k] is not _ABSENT)
    return build(kind, [None if part is _ABSENT else part for part in parts], keys)


def merge(a: Tree, b: Tree, /) -> Tree:
    """The tree with the leaves of both; the inverse of `partition`.

    Args:
        a: a tree.
        b: a tree with other leaves. Dicts are united; lists and tuples must have the
            same length, and where one tree has `None` the node of the other is taken.

    Raises:
        TypeError: if a tree is a leaf.
        ValueError: if a leaf is in both, or nodes are of different types.

    Example:
        >>> from lucid_fn import tree
        >>> tree.merge({"fc": {"weight": 1}}, {"fc": {"bias": 2}})
        {'fc': {'weight': 1, 'bias': 2}}
        >>> tree.merge([1, None], [None, 2])
        [1, 2]
    """
    for tree in (a, b):
        if entries_of(tree) is None:
            raise TypeError(f"tree.merge: trees must have leaves, got {describe(tree)}")
    try:
        return _merge(a, b, ())
    except RecursionError:
        raise too_deep() from None


def _merge(a: Tree, b: Tree, path: tuple[Any, ...]) -> Tree:
    if a is None or b is None:
        return b if a is None else a
    ours, theirs = entries_of(a), entries_of(b)
    if ours is None or theirs is None:
        raise ValueError(f"tree.merge: both trees hold {join(path)!r}")
    if isinstance(a, dict) and type(a) is type(b):
        out = dict(a)
        for key, child in b.items():
            both = key in out
            out[key] = _merge(out[key], child, (*path, key)) if both else child
        return ours[0](out)
    if ours[:2] != theirs[:2]:
        where = f" at {join(path)}" if path else ""
        raise ValueError(
            f"tree.merge: structures differ{where}: {describe(a)} and {describe(b)}"
        )
    pairs = zip(ours[1], ours[2], theirs[2], strict=True)
    parts = [_merge(x, y, (*path, key)) for key, x, y in pairs]
    return build(ours[0], parts, ours[1])


def _child(node: Any, part: str, path: str) -> tuple[int, Any]:
    """The index of the child of `node` with this key, and the child."""
    entries = entries_of(node)
    names = [str(key) for key in entries[1]] if entries else []
    if part not in names:
        there = f"keys {', '.join(names)}" if names else describe(node)
        raise KeyError(f"tree.at: path {path!r} stops at {part!r}; found {there}")
    index = names.index(part)
    return index, entries[2][index]  # type: ignore[index]  # names is empty for None


class Place(NamedTuple):
    """A place in a tree, which can be read or replaced: see `at`."""

    tree: Tree
    path: str

    def get(self) -> Any:
        """The leaf or subtree at the path."""
        node = self.tree
        for part in self.path.split("."):
            _, node = _child(node, part, self.path)
        return node

    def set(self, value: Any) -> Tree:
        """A new tree with `value` at the path; the given tree is unchanged.

        Args:
            value: a leaf or subtree.
        """
        return _rebuild(self.tree, self.path.split("."), self.path, value)

    def apply(self, fn: Callable[[Any], Any]) -> Tree:
        """A new tree with `fn` applied to the leaf or subtree at the path.

        Args:
            fn: a function of the leaf or subtree.
        """
        return self.set(fn(self.get()))


def at(tree: Tree, path: str, /) -> Place:
    """The leaf or subtree at a dotted path, to be read or replaced.

    Args:
        tree: any tree.
        path: keys, indices and field names joined by dots.

    Returns:
        An object with `get()`, which returns the leaf or subtree, and `set(value)` and
        `apply(fn)`, which return a new tree with another one in its place.

    Raises:
        KeyError: by `get`, `set` and `apply`, if the path does not exist; the message
            says where it stops.

    Example:
        >>> from lucid_fn import tree
        >>> params = {"layer1": [{"weight": 5}]}
        >>> tree.at(params, "layer1.0.weight").get()
        5
        >>> tree.at(params, "layer1.0.weight").set(7)
        {'layer1': [{'weight': 7}]}
        >>> tree.at(params, "layer1.0").apply(lambda layer: {**layer, "bias": 0})
        {'layer1': [{'weight': 5, 'bias': 0}]}
    """
    return Place(tree, path)


def _rebuild(node: Any, parts: list[str], path: str, value: Any) -> Any:
    if not parts:
        return value
    index, child = _child(node, parts[0], path)
    new = _rebuild(child, parts[1:], path, value)
    kind, keys, children = entries_of(node)  # type: ignore[misc]  # _child found one
    if kind is dict:  # in the order of insertion
        return {**node, keys[index]: new}
    return build(kind, [*children[:index], new, *children[index + 1 :]], keys)
