"""The line of a registry, and how a test runs over all lines."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest


@dataclass(frozen=True, eq=False)  # one is equal to itself alone, so that it has a hash
class Case:
    """One thing to run the laws on."""

    name: str  # its first word is the public function
    make: Callable[[], Any]
    inputs: Callable[..., tuple[Any, ...]] | None = None  # drawn from a generator
    exempt: frozenset[str] = frozenset()  # laws that it does not promise to keep
    # What errors call the range of a number, where it is another than in `ranges`.
    ranges: Mapping[str, str] = field(default_factory=dict)

    @property
    def function(self) -> str:
        """The public function that it is of."""
        return re.split("[ ,-]", self.name)[0]


def over(cases: Sequence[Case], law: str | None = None) -> pytest.MarkDecorator:
    """Runs a test for each case, but for those exempt from the law."""
    kept = [case for case in cases if law not in case.exempt]
    return pytest.mark.parametrize("case", kept, ids=[case.name for case in kept])
