"""Groups of processes that tests start, watch and kill."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(
    script: str | Path, *arguments: object, workers: int, options: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """The launcher, with the output of all processes in its stdout."""
    launcher = [sys.executable, "-m", "lucid_fn", "launch", "-n", str(workers)]
    return subprocess.Popen(
        [*launcher, *options, str(script), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def workers_of(launcher: subprocess.Popen[str]) -> list[int]:
    """The process ids of its workers, in the order of their ranks."""
    pid = launcher.pid
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(x) for x in text.split()]
    except OSError:
        return []


def wait_for_workers(launcher: subprocess.Popen[str], count: int) -> list[int]:
    while launcher.poll() is None and len(workers_of(launcher)) < count:
        time.sleep(0.001)
    return workers_of(launcher)
