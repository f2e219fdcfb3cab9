"""Transformations are of traces: what they compile need not be fused."""

from collections.abc import Iterator

import pytest

from tests import fusion


@pytest.fixture(autouse=True)
def unfused() -> Iterator[None]:
    with fusion.unfused():
        yield
