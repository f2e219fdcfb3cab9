"""Other names for arrays."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import islice
from typing import Any, TypeAlias, TypeVar

T = TypeVar("T")

Rename: TypeAlias = Mapping[str, str | None] | Callable[[str], str | None]
"""New names by old ones or by their first parts, or a function; `None` drops one.

An empty new name takes the parts away; an empty old one puts parts before all names.
"""

_SHOWN = 30


def renamed(caller: str, items: Mapping[str, T], rename: Rename | None) -> dict[str, T]:
    """The items under their new names.

    Raises:
        TypeError: if `rename` is of another kind, or gives something else than names.
        ValueError: if two items get one name, or the mapping has a name of none.
    """
    if rename is None:
        return dict(items)
    if isinstance(rename, Mapping):
        rename = {_part(caller, old): new for old, new in rename.items()}
        unused = [old for old in rename if not any(_begins(n, old) for n in items)]
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
        new = _by_parts(old, rename) if isinstance(rename, Mapping) else rename(old)
        if new is None:
            continue
        if new == "":
            raise ValueError(
                f"{caller}: rename must leave something of each name, got '' for {old}"
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
    """The `rename` by which most names that are missing would be found, as a sentence.

    Wrappers put their name in front of all others, such as `module.` or `_orig_mod.`.
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


def _part(caller: str, old: Any) -> str:
    """The first parts of a name, where `module.` means `module` as well."""
    if not isinstance(old, str):
        raise TypeError(f"{caller}: rename must map names, got {old!r}")
    return old.removesuffix(".")


def _listed(items: Iterable[str]) -> str:
    shown = list(islice(items, _SHOWN + 1))
    return ", ".join(shown[:_SHOWN]) + (", ..." if len(shown) > _SHOWN else "")


def _by_parts(name: str, rename: Mapping[str, str | None]) -> Any:
    """The name with the longest of its beginnings that `rename` has replaced."""
    known = [old for old in rename if _begins(name, old)]
    if not known:
        return name
    old = max(known, key=len)
    new, rest = rename[old], name[len(old) :].removeprefix(".")
    if not isinstance(new, str):
        return new
    return ".".join(part for part in (new.removesuffix("."), rest) if part)


def _begins(name: str, part: str) -> bool:
    return not part or name == part or name.startswith(f"{part}.")
