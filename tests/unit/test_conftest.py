"""Tests of tuned formulations are skipped where the plain ones are forced."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MARKED = """
import pytest

@pytest.mark.tuned("a kernel that plain operations have not")
def test_of_a_kernel():
    pass

@pytest.mark.parametrize("x", [1, pytest.param(2, marks=pytest.mark.tuned("two"))])
def test_of_some(x):
    pass
"""


@pytest.mark.parametrize(
    ("setting", "outcome"), [("plain", "1 passed, 2 skipped"), ("tuned", "3 passed")]
)
def test_marked_tests_are_skipped_with_their_reason(tmp_path, setting, outcome):
    (tmp_path / "test_marked.py").write_text(MARKED)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-rs",
        "-c",
        str(ROOT / "pyproject.toml"),
    ]
    done = subprocess.run(
        [*command, "-p", "tests.conftest", str(tmp_path)],
        env={**os.environ, "LUCID_FN_OPS": setting},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert outcome in done.stdout
    reason = "LUCID_FN_OPS=plain: a kernel that plain operations have not"
    assert (reason in done.stdout) == (setting == "plain")
