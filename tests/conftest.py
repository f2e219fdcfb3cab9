"""Shared set-up: the CPU, hypothesis profiles, and one key."""

import gc
import importlib.util
import os
import signal
import sys
from collections.abc import Generator, Iterator
from typing import Any

import hypothesis
import mlx.core as mx
import pytest

# Those that cannot even be imported; the other comparisons skip themselves.
collect_ignore = []
if importlib.util.find_spec("onnxruntime") is None:
    collect_ignore += ["onnx_files.py"]
if importlib.util.find_spec("torch") is None:
    collect_ignore += [
        "benchmarks/peers/pytorch",
        "parity/layouts.py",
        "parity/losses_side_by_side.py",
        "parity/test_class_loss_parity.py",
        "parity/test_loss_parity.py",
    ]


mx.set_default_device(mx.cpu)
# Hundreds of child processes import the library. They read its bytecode, and so do the
# workers of xdist that of the tests, also where the environment wants none written.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A shell starts programs in the background with Ctrl-C ignored, which tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test depends on the clock: the first call of a shape compiles kernels, and the
# machine may be busy.
hypothesis.settings.register_profile(
    "dev",
    max_examples=25,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "ci",
    hypothesis.settings.get_profile("dev"),
    max_examples=40,
    derandomize=True,
    print_blob=True,
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


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Spares the garbage collector the tests themselves, which live to the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(name="unfused")
def fixture_unfused() -> Iterator[None]:
    """For tests of what `jit` traces, whose fused kernels do not matter."""
    from tests.fusion import unfused  # not above: before bytecode may be written

    with unfused():
        yield


@pytest.fixture
def key() -> mx.array:
    """The key most tests start from."""
    return mx.random.key(0)
