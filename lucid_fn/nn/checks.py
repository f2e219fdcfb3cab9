"""Checks that several constructors share."""


def check_positive(caller: str, **sizes: int) -> None:
    """Raises unless every size is an integer of at least 1."""
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"{caller}: {name} must be an integer, got {size!r}")
        if size < 1:
            raise ValueError(f"{caller}: {name} must be at least 1, got {size}")


def check_rate(caller: str, rate: float) -> None:
    """Raises unless `rate`, a probability of dropping, is in [0, 1)."""
    if not 0 <= rate < 1:
        raise ValueError(f"{caller}: rate must be in [0, 1), got {rate}")


def pair(
    caller: str, name: str, value: int | tuple[int, int], *, least: int
) -> tuple[int, int]:
    """One number for both axes, or one for each, checked."""
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2 or any(not isinstance(v, int) or v < least for v in both):
        raise ValueError(
            f"{caller}: {name} must be an integer of at least {least}, or two, "
            f"got {value}"
        )
    return both[0], both[1]
