"""Fixtures: a fresh process, an ELF image made by hand, and only where they apply."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import lucid_fn

ROOT = Path(lucid_fn.__file__).parents[1]
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="for Linux alone")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(linux_only)


@pytest.fixture
def run() -> Callable[..., str]:
    """Runs Python code in a fresh process; every warning there is an error."""

    def run(code: str, *options: str, **variables: str) -> str:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("LUCID_FN_")}
        done = subprocess.run(
            [sys.executable, *(options or ("-W", "error")), "-c", code],
            env={**kept, "PYTHONPATH": str(ROOT), **variables},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
