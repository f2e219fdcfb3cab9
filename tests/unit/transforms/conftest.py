"""Tests of transformations count traces, whose kernels need not be fused."""

import pytest


@pytest.fixture(autouse=True)
def without_kernels(unfused) -> None:
    """For all tests here."""
