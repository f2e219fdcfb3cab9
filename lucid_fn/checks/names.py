"""Names in errors."""

from collections.abc import Iterable

_MOST = 5


def listed(names: Iterable[str]) -> str:
    """The first of many names, and how many more there are.

    Example:
        >>> listed("abcdefg"), listed([])
        ('a, b, c, d, e and 2 more', 'none')
    """
    names = list(names)
    shown = ", ".join(names[:_MOST]) or "none"
    return shown if len(names) <= _MOST else f"{shown} and {len(names) - _MOST} more"
