"""Other names for arrays."""

from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

T = TypeVar("T")

Rename: TypeAlias = Mapping[str, str | None] | Callable[[str], str | None]
"""New names by old ones or by their first parts, or a function; `None` drops one."""


def renamed(caller: str, items: Mapping[str, T], rename: Rename | None) -> dict[str, T]:
    """The items under their new names.

    Raises:
        TypeError: if `rename` is of another kind, or gives something else than names.
        ValueError: if two items get one name, or the mapping has a name of none.
    """
    if rename is None:
        return dict(items)
    if isinstance(rename, Mapping):
        unused = [old for old in rename if not any(_begins(n, old) for n in items)]
        if unused:
            raise ValueError(
                f"{caller}: rename must map names that are there, got "
                f"{', '.join(unused)}; there are {', '.join(items)}"
            )
    elif not callable(rename):
        raise TypeError(
            f"{caller}: rename must be a mapping of names or a function, got "
            f"{type(rename).__name__}"
        )
    result: dict[str, T] = {}
    sources: dict[str, str] = {}
    for old, value in items.items():
        new = _by_parts(old, rename) if isinstance(rename, Mapping) else rename(old)
        if new is None:
            continue
        if not isinstance(new, str):
            raise TypeError(
                f"{caller}: rename must give a name or None, got {new!r} for {old}"
            )
        if new in result:
            raise ValueError(
                f"{caller}: rename must give each array a name of its own, got {new} "
                f"for {sources[new]} and {old}"
            )
        result[new], sources[new] = value, old
    return result


def _by_parts(name: str, rename: Mapping[str, str | None]) -> str | None:
    """The name with the longest of its beginnings that `rename` has replaced."""
    known = [old for old in rename if _begins(name, old)]
    if not known:
        return name
    old = max(known, key=len)
    new = rename[old]
    return None if new is None else new + name[len(old) :]


def _begins(name: str, part: str) -> bool:
    return name == part or name.startswith(f"{part}.")
