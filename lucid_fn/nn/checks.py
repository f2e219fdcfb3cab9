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
