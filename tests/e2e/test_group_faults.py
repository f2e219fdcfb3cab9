"""Groups of which a process is killed, stopped or interrupted."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from lucid_fn import train
from tests.faults.groups import start, wait_for_workers

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/task").exists(), reason="finds the processes in /proc"
)
TRAINING = Path(__file__).parents[1] / "faults" / "training.py"
EPOCHS = 6


def started(path, *options: str, epochs: int = EPOCHS, seconds: tuple = ()) -> tuple:
    """The launcher, and the process ids of its workers after the second epoch."""
    launcher = start(TRAINING, path, epochs, *seconds, workers=2, options=options)
    pids = wait_for_workers(launcher, 2)
    line = ""
    while "epoch 2/" not in re.sub(" +", " ", line):
        line = launcher.stdout.readline()
        assert line, launcher.communicate()
    return launcher, pids


def rest_of(launcher: subprocess.Popen[str]) -> tuple[int, str, list[str]]:
    """Its exit code, its output, and what the ranks ended with."""
    output, _ = launcher.communicate()
    return launcher.returncode, output, re.findall(r"result (\w+)", output)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run.safetensors"
    code, output, results = rest_of(start(TRAINING, path, EPOCHS, workers=2))
    assert code == 0 and len(results) == 2, output
    return results


def test_after_a_kill_all_start_again_and_go_on_bit_for_bit(undisturbed, tmp_path):
    launcher, pids = started(tmp_path / "run.safetensors", "--restart", "1")
    os.kill(pids[1], signal.SIGKILL)
    code, output, results = rest_of(launcher)
    assert code == 0, output
    assert "lucid_fn launch: rank 1 was ended by SIGKILL" in output
    assert "[0] resumed from" in output
    assert results == undisturbed
    assert len({*results}) == 1  # the ranks are equal


def test_a_rank_that_is_stopped_is_named_after_the_timeout(tmp_path):
    path = tmp_path / "run.safetensors"
    launcher, pids = started(path, epochs=10_000, seconds=(3,))
    os.kill(pids[1], signal.SIGSTOP)
    code, output, _ = rest_of(launcher)
    assert code != 0
    named = rf"rank 0 ends: rank 1 \(process {pids[1]} on .*no sign of life for 3 s"
    assert re.search(named, output), output
    assert int(train.load_metadata(path)["start_step"]) == 0  # it is intact


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["launcher", "one rank"])
def test_a_signal_ends_all_after_the_same_step_which_is_saved(where, number, tmp_path):
    path = tmp_path / "run.safetensors"
    launcher, pids = started(path, epochs=10_000)
    os.kill(launcher.pid if where == "launcher" else pids[1], number)
    code, output, results = rest_of(launcher)
    assert code == (130 if where == "launcher" else 0), output
    assert output.count("interrupted") == 1
    assert len(results) == 2 and len({*results}) == 1
    assert json.loads(train.load_metadata(path)["progress"])["epoch"] >= 2


def test_a_launcher_that_is_killed_leaves_no_process_behind(tmp_path):
    launcher, pids = started(tmp_path / "run.safetensors", epochs=10_000)
    launcher.kill()
    launcher.communicate()
    while any(map(is_alive, pids)):  # ends, or the test hangs
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
