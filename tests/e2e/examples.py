"""Runs the scripts of examples/, and looks at what they write."""

import io
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from unittest import mock

import mlx.core as mx

from tests.fusion import unfused

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(script: str, *arguments: str) -> str:
    """What an example prints; its errors and warnings fail the test.

    It runs in this process, which has all imported that it needs, and unfused.
    """
    printed, errors = io.StringIO(), io.StringIO()
    command = [str(EXAMPLES / script), *arguments]
    device = mx.default_device()
    with (
        mock.patch.object(sys, "argv", command),
        mock.patch.object(sys, "path", [str(EXAMPLES), *sys.path]),
        redirect_stdout(printed),
        redirect_stderr(errors),
        suppress(SystemExit),  # after --help
        unfused(),
    ):
        runpy.run_path(command[0], run_name="__main__")
    mx.set_default_device(device)
    assert errors.getvalue() == ""
    return printed.getvalue()


def run_alone(script: str, *arguments: str) -> str:
    """The same, as a user does it: in a process of its own, with fused kernels."""
    command = [sys.executable, "-W", "error", EXAMPLES / script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def assert_png(path: Path) -> None:
    assert path.read_bytes().startswith(b"\x89PNG")
    assert path.stat().st_size > 10_000
