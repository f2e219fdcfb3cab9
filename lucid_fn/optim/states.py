"""Find and replace the states of single transformations in an optimizer's state."""

from typing import Any


def find_one(caller: str, opt_state: Any, *kinds: type) -> Any:
    """The only state of the given types, at any depth of chains and wrappers."""
    found = find(opt_state, *kinds)
    if len(found) != 1:
        names = [kind.__name__ for kind in kinds]
        raise ValueError(
            f"{caller}: opt_state must hold one {' or '.join(names)}, got "
            f"{len(found)}" + ("; give the state of one group" if found else "")
        )
    return found[0]


def find(opt_state: Any, *kinds: type) -> list[Any]:
    """All states of the given types, at any depth of chains and wrappers."""
    inner = [state for child in _children(opt_state) for state in find(child, *kinds)]
    return [opt_state, *inner] if isinstance(opt_state, kinds) else inner


def replace(opt_state: Any, old: Any, new: Any) -> Any:
    """The state with the object `old`, found by identity, replaced by `new`."""
    if opt_state is old:
        return new
    children = [replace(child, old, new) for child in _children(opt_state)]
    if isinstance(opt_state, dict):
        return dict(zip(opt_state, children, strict=True))
    if isinstance(opt_state, tuple) and hasattr(opt_state, "_fields"):
        return type(opt_state)(*children)
    if isinstance(opt_state, tuple | list):
        return type(opt_state)(children)
    return opt_state


def _children(node: Any) -> list[Any]:
    if isinstance(node, dict):
        return list(node.values())
    return list(node) if isinstance(node, tuple | list) else []
