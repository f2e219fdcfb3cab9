"""What is read and written does not depend on fused kernels."""

import pytest


@pytest.fixture(autouse=True)
def without_kernels(unfused) -> None:
    """For all tests here."""
