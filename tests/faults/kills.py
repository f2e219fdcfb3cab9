"""kill -9 of a random worker at a random moment, many times."""

import os
import random
import re
import signal
import tempfile
import time
from pathlib import Path

from lucid_fn import train
from tests.faults.groups import start, wait_for_workers

TRAINING = Path(__file__).with_name("training.py")
EPOCHS = 60
LIMIT = 30.0  # seconds in which all processes have ended


def run(count: int, workers: int, seed: int) -> int:
    """Each run must end soon, name the killed rank, and go on bit for bit."""
    draw = random.Random(seed)
    print(f"seed {seed}, {workers} workers")
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        expected = _results(_finish(Path(folder) / "whole.safetensors", workers))
        length = time.monotonic() - began
        print(f"undisturbed: {length:.1f} s, results {expected}")
        failures = 0
        for trial in range(count):
            path = Path(folder) / f"{trial}.safetensors"
            problems = _trial(path, workers, draw, length, expected)
            failures += bool(problems)
            print(f"{trial + 1:3d}/{count}: {'; '.join(problems) or 'ok'}", flush=True)
    print(f"{count - failures} of {count} kills were survived")
    return int(failures > 0)


def _trial(
    path: Path, workers: int, draw: random.Random, length: float, expected: set[str]
) -> list[str]:
    rank, delay = draw.randrange(workers), draw.uniform(0, 0.95 * length)
    launcher = start(TRAINING, path, EPOCHS, workers=workers)
    pids = wait_for_workers(launcher, workers)
    time.sleep(delay)
    if launcher.poll() is not None:
        return [f"was over before the kill at {delay:.1f} s"]
    os.kill(pids[rank], signal.SIGKILL)
    killed = time.monotonic()
    output, _ = launcher.communicate(timeout=10 * LIMIT)
    took = time.monotonic() - killed
    epochs = _epochs(path) if path.exists() else 0  # raises if it is damaged
    print(f"  rank {rank} killed at {delay:.1f} s, after epoch {epochs}, ", end="")
    print(f"all ended {took:.1f} s later")
    problems = []
    if took > LIMIT:
        problems.append(f"took {took:.1f} s to end")
    if launcher.returncode != 128 + signal.SIGKILL:
        problems.append(f"returned {launcher.returncode}")
    if f"rank {rank} was ended by SIGKILL" not in output:
        problems.append(f"did not name rank {rank}: {output[-500:]}")
    if any(map(_runs, pids)):
        problems.append("left a process behind")
    if (found := _results(_finish(path, workers))) != expected:
        problems.append(f"went on to {found}")
    return problems


def _epochs(path: Path) -> int:
    return train.load_metadata(path)["history"].count('"epoch"')


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _finish(path: Path, workers: int) -> str:
    """The output of a run that goes on from `path` to the end."""
    launcher = start(TRAINING, path, EPOCHS, workers=workers)
    output, _ = launcher.communicate(timeout=600)
    return output


def _results(output: str) -> set[str]:
    return set(re.findall(r"result (\w+)", output))
