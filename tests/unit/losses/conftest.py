"""What losses compute in fused kernels is under the laws of tests/property."""

import pytest


@pytest.fixture(autouse=True)
def without_kernels(unfused) -> None:
    """For all tests here."""
