"""The line of a registry, and how a test runs over all lines."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pytest


class Case(NamedTuple):
    """One thing to run the laws on."""

    name: str
    make: Callable[[], Any]
    inputs: Callable[..., tuple[Any, ...]] | None = None  # drawn from a generator
    exempt: frozenset[str] = frozenset()  # laws that it does not promise to keep


def over(cases: Sequence[Case], law: str | None = None) -> pytest.MarkDecorator:
    """Runs a test for each case, but for those exempt from the law."""
    kept = [case for case in cases if law not in case.exempt]
    return pytest.mark.parametrize("case", kept, ids=[case.name for case in kept])
