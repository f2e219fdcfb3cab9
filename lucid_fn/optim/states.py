"""Finding one part's state in the state of a whole optimizer."""

from typing import Any


def find_one(opt_state: Any, kinds: tuple[type, ...], caller: str) -> Any:
    """The one state of these kinds, however deep it is in chains and wrappers."""
    found = find(opt_state, kinds)
    if len(found) != 1:
        names = [kind.__name__ for kind in kinds]
        raise ValueError(
            f"{caller}: opt_state must hold one {' or '.join(names)}, got "
            f"{len(found)}" + ("; give the state of one group" if found else "")
        )
    return found[0]


def find(opt_state: Any, kinds: tuple[type, ...]) -> list[Any]:
    """The states of these kinds, however deep they are in chains and wrappers."""
    inner = [state for child in _children(opt_state) for state in find(child, kinds)]
    return [opt_state, *inner] if isinstance(opt_state, kinds) else inner


def replace(opt_state: Any, old: Any, new: Any) -> Any:
    """The state with `new` where it holds the very object `old`."""
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
