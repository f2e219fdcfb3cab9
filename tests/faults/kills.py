"""kill -9 of a random worker at a random moment, many times."""

import os
import random
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from lucid_fn import train
from tests.faults.groups import start, wait_for_workers

TRAINING = Path(__file__).with_name("training.py")
EPOCHS = 40
LIMIT = 30.0  # seconds in which all processes have ended


def run(count: int, workers: int, seed: int) -> int:
    """Each run must end soon, name the killed rank, and go on bit for bit."""
    draw = random.Random(seed)
    print(f"seed {seed}, {workers} workers", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        expected = _finish(Path(folder) / "whole.safetensors", workers)
        print(f"undisturbed: {expected}", flush=True)
        survived = 0
        for trial in range(count):
            path = Path(folder) / f"{trial}.safetensors"
            problems = _trial(path, workers, draw, expected)
            survived += not problems
            print(f"{trial + 1}/{count}: {'; '.join(problems) or 'ok'}", flush=True)
    print(f"{survived} of {count} kills were survived")
    return int(survived < count)


def _trial(
    path: Path, workers: int, draw: random.Random, expected: set[str]
) -> list[str]:
    rank = draw.randrange(workers)
    # One in four before the first epoch has ended: while the processes start.
    epoch = draw.randrange(1, EPOCHS) if draw.random() < 0.75 else 0
    delay = draw.uniform(0, 0.1 if epoch else 3.0)
    launcher = start(TRAINING, path, EPOCHS, workers=workers)
    pids = wait_for_workers(launcher, workers)
    _read_until(launcher, epoch)
    time.sleep(delay)
    try:
        os.kill(pids[rank], signal.SIGKILL)
    except ProcessLookupError:
        launcher.communicate()
        return _trial(path.with_suffix(".again.safetensors"), workers, draw, expected)
    killed = time.monotonic()
    output, _ = launcher.communicate(timeout=10 * LIMIT)
    took = time.monotonic() - killed
    saved = _epochs(path) if path.exists() else 0  # raises if it is damaged
    print(f"rank {rank} killed {delay:.2f} s after epoch {epoch}, ", end="")
    print(f"all ended {took:.2f} s later, {saved} epochs saved; ", end="")
    problems = []
    if took > LIMIT:
        problems.append(f"took {took:.1f} s to end")
    if launcher.returncode != 128 + signal.SIGKILL:
        problems.append(f"returned {launcher.returncode}")
    if f"rank {rank} was ended by SIGKILL" not in output:
        problems.append(f"did not name rank {rank}: {output[-500:]}")
    if any(map(_runs, pids)):
        problems.append("left a process behind")
    if (found := _finish(path, workers)) != expected:
        problems.append(f"went on to {found}")
    return problems


def _read_until(launcher: subprocess.Popen[str], epoch: int) -> None:
    assert launcher.stdout is not None
    while epoch and (line := launcher.stdout.readline()):
        if re.search(rf"epoch +{epoch}/", line):
            return


def _epochs(path: Path) -> int:
    return train.load_metadata(path)["history"].count('"epoch"')


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _finish(path: Path, workers: int) -> set[str]:
    """The checksums of all ranks, of a run that goes on from `path` to the end."""
    launcher = start(TRAINING, path, EPOCHS, workers=workers)
    output, _ = launcher.communicate()
    return set(re.findall(r"result (\w+)", output))
