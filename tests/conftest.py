"""Shared set-up: the CPU, hypothesis profiles, and one key."""

import os

import hypothesis
import mlx.core as mx
import pytest

mx.set_default_device(mx.cpu)

# The first call of a shape compiles kernels, so single examples have no deadline.
hypothesis.settings.register_profile("dev", max_examples=25, deadline=None)
hypothesis.settings.register_profile(
    "ci", max_examples=40, deadline=None, derandomize=True, print_blob=True
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.fixture
def key() -> mx.array:
    """The key most tests start from."""
    return mx.random.key(0)
