"""Shared set-up: the CPU, hypothesis profiles, and one key."""

import importlib.util
import os

import hypothesis
import mlx.core as mx
import pytest

if importlib.util.find_spec("torch") is None:
    # Those that cannot even be imported; the other comparisons skip themselves.
    collect_ignore = [
        "benchmarks/peers/pytorch.py",
        "parity/layouts.py",
        "parity/losses_side_by_side.py",
        "parity/test_class_loss_parity.py",
        "parity/test_loss_parity.py",
    ]


mx.set_default_device(mx.cpu)

# The first call of a shape compiles kernels, so single examples have no deadline.
hypothesis.settings.register_profile("dev", max_examples=25, deadline=None)
hypothesis.settings.register_profile(
    "ci", max_examples=40, deadline=None, derandomize=True, print_blob=True
)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips tests of tuned formulations where the plain ones are forced."""
    if os.environ.get("LUCID_FN_OPS") != "plain":
        return
    for item in items:
        for mark in item.iter_markers("tuned"):
            (reason,) = mark.args
            item.add_marker(pytest.mark.skip(reason=f"LUCID_FN_OPS=plain: {reason}"))


@pytest.fixture
def key() -> mx.array:
    """The key most tests start from."""
    return mx.random.key(0)
