"""Rename the arrays of a `state_dict` by a mapping or a function."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

Rename: TypeAlias = Mapping[str, str | None] | Callable[[str], str | None]
"""New names by old names or prefixes, or a function; `None` drops an array.

An empty new name removes the prefix; an empty old name adds a prefix to all names.
"""

_SHOWN = 30


def renamed(caller: str, items: Mapping[str, T], rename: Rename | None) -> dict[str, T]:
    """The items under their new names.

    Raises:
        TypeError: if `rename` or a new name has the wrong type.
        ValueError: if two items get the same name, or a name in the mapping is unused.
    """
    if rename is None:
        return dict(items)
    if isinstance(rename, Mapping):
        rename = {_prefix(caller, old): new for old, new in rename.items()}
        unused = [old for old in rename if not any(_has_prefix(n, old) for n in items)]
        if unused:
            raise ValueError(
                f"{caller}: rename must map names that are there, got "
                f"{', '.join(map(repr, unused))}; there are {_listed(items)}"
            )
    elif not callable(rename):
        raise TypeError(
            f"{caller}: rename must be a mapping of names or a function, got "
            f"{type(rename).__name__}"
        )
    result: dict[str, T] = {}
    sources: dict[str, str] = {}
    for old, value in items.items():
        new = _renamed(old, rename) if isinstance(rename, Mapping) else rename(old)
        if new is None:
            continue
        if new == "":
            raise ValueError(
                f"{caller}: rename must not give empty names, got '' for {old}"
            )
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


def prefix_hint(names: Collection[str], paths: Collection[str]) -> str | None:
    """Suggest a `rename` of a prefix that resolves half of the missing names or more.

    Wrappers add prefixes to all names, such as `module.` and `_orig_mod.`.
    """
    hints: dict[str, int] = {}
    for inner, outer, form in (
        (paths, names, "{0!r}: ''"),
        (names, paths, "'': {0!r}"),
    ):
        prefixes = Counter(
            name[:dot]
            for name in outer
            if name not in inner
            for dot in range(len(name))
            if name[dot] == "." and name[dot + 1 :] in inner
        )
        for prefix, count in prefixes.most_common(1):
            hints[f"pass rename={{{form.format(prefix)}}}"] = count
    missing = len(set(paths) - set(names))
    best = max(hints, key=hints.__getitem__, default=None)
    return best if best and 2 * hints[best] >= missing else None


def _prefix(caller: str, old: Any) -> str:
    """A prefix without its trailing dot, so that `module.` means `module`."""
    if not isinstance(old, str):
        raise TypeError(f"{caller}: rename must map names, got {old!r}")
    return old.removesuffix(".")


def _listed(items: Iterable[str]) -> str:
    shown = list(islice(items, _SHOWN + 1))
    return ", ".join(shown[:_SHOWN]) + (", ..." if len(shown) > _SHOWN else "")


def _renamed(name: str, rename: Mapping[str, str | None]) -> Any:
    """The name with its longest prefix in `rename` replaced."""
    known = [old for old in rename if _has_prefix(name, old)]
    if not known:
        return name
    old = max(known, key=len)
    new, rest = rename[old], name[len(old) :].removeprefix(".")
    if not isinstance(new, str):
        return new
    return ".".join(part for part in (new.removesuffix("."), rest) if part)


def _has_prefix(name: str, part: str) -> bool:
    return not part or name == part or name.startswith(f"{part}.")
