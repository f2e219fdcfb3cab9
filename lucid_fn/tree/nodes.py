"""The inner nodes of trees: their types, their children, and how they are built."""

import dataclasses
import functools
from collections import OrderedDict
from typing import Any, TypeVar


def sorted_keys(node: dict[Any, Any]) -> list[Any]:
    try:
        return sorted(node)
    except TypeError:
        raise TypeError(
            "tree: the keys of a dict must be of one kind, such as str, to have an "
            f"order, got {', '.join(repr(key) for key in node)}"
        ) from None


def entries_of(node: Any) -> tuple[type, list[Any], list[Any]] | None:
    """The kind, keys and children of an inner node; `None` for a leaf."""
    kind: Any = type(node)
    if isinstance(node, dict):
        if kind is OrderedDict:
            return kind, list(node), list(node.values())
        if kind is not dict and not hasattr(kind, "counts_as_dict"):
            raise _not_a_tree(node)
        keys = sorted_keys(node)
        return dict, keys, [node[k] for k in keys]
    if isinstance(node, tuple) and hasattr(kind, "_fields"):
        return kind, list(kind._fields), list(node)
    if isinstance(node, list | tuple):
        return kind, list(range(len(node))), list(node)
    if node is None:
        return type(None), [], []
    if names := fields_of(kind):
        return kind, list(names), [getattr(node, name) for name in names]
    return None


@functools.cache
def fields_of(kind: Any) -> tuple[str, ...]:
    """The field names of a dataclass that is a node; `()` for any other class."""
    of_chex = hasattr(kind, "to_tuple") and hasattr(kind, "from_tuple")
    if not dataclasses.is_dataclass(kind) or not (of_chex or hasattr(kind, _MARK)):
        return ()
    return tuple(field.name for field in dataclasses.fields(kind) if field.init)


_MARK = "__lucid_fn_node__"
Class = TypeVar("Class", bound=type)


def register_node(cls: Class, /) -> Class:
    """Marks a dataclass as a node of trees: its fields are children, by their names.

    Without the mark a dataclass is a leaf, as any other object is. Those made with
    `chex.dataclass` are nodes without it.

    Args:
        cls: a dataclass, whose fields are arguments of its constructor.

    Returns:
        The class, so that it can be a decorator.

    Raises:
        TypeError: if `cls` is not a dataclass.

    Example:
        >>> import dataclasses
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> from lucid_fn import tree
        >>> @tree.register_node
        ... @dataclasses.dataclass(frozen=True)
        ... class Point:
        ...     x: mx.array
        ...     y: mx.array
        >>> double = lf.jit(lambda point: tree.map(lambda leaf: 2 * leaf, point))
        >>> double(Point(mx.array(1.0), mx.array(2.0)))
        Point(x=array(2, dtype=float32), y=array(4, dtype=float32))
    """
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
        raise TypeError(
            f"tree.register_node: cls must be a dataclass, got {cls!r}; put "
            "@tree.register_node above @dataclasses.dataclass"
        )
    setattr(cls, _MARK, True)
    fields_of.cache_clear()  # the class may have been a leaf before
    return cls


def _not_a_tree(node: dict[Any, Any]) -> TypeError:
    """The error for a subclass of dict, which a rebuilt node would lose."""
    is_module = hasattr(node, "trainable_parameters")
    fix = (
        "give its parameters() and read them with functions, as the layers of nn do"
        if is_module
        else "convert it with dict(...)"
    )
    return TypeError(
        f"tree: dicts must be of the type dict or OrderedDict, got "
        f"{type(node).__module__}.{type(node).__qualname__}, which would be lost; {fix}"
    )


def build(kind: Any, children: list[Any], keys: tuple[Any, ...] | list[Any]) -> Any:
    """Builds an inner node: the inverse of `entries_of`."""
    if kind is dict or kind is OrderedDict:
        return kind(zip(keys, children, strict=True))
    if kind is type(None):
        return None
    if fields_of(kind):
        return kind(**dict(zip(keys, children, strict=True)))
    return kind(*children) if hasattr(kind, "_fields") else kind(children)
