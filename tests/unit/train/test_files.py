"""Files that `fit` writes: checked before the first step, and never lost."""

import os
import resource
import stat
import subprocess
import sys
import textwrap
from contextlib import contextmanager

import pytest

from lucid_fn import train
from tests.unit.train.runs import equal, fit


@contextmanager
def full_disk(size):
    """No file grows beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


KEEPING = {
    "checkpoint": lambda path: {"checkpoint": path},
    "history_path": lambda path: {"history_path": path},
    "to_jsonl": lambda path: {"on_epoch": train.to_jsonl(path)},
    "keep_best": lambda path: {
        "on_epoch": train.keep_best(path, "learning_rate", higher_is_better=True)
    },
}


@pytest.mark.parametrize("keeping", KEEPING.values(), ids=KEEPING)
def test_a_full_disk_is_reported_with_the_file(task, tmp_path, keeping):
    path = tmp_path / "file.safetensors"
    settings = keeping(path)
    fit(task, epochs=1)  # compiled programs are files too
    with full_disk(40), pytest.raises(OSError, match=f"cannot write {path}: File too"):
        fit(task, epochs=1, **settings)
    left = list(tmp_path.iterdir())
    assert left in ([], [path])
    assert all(entry.stat().st_size <= 40 for entry in left)  # an unfinished line


@pytest.mark.parametrize("keeping", KEEPING.values(), ids=KEEPING)
def test_a_folder_that_takes_no_files_is_reported_before_the_first_step(task, keeping):
    if not os.path.isdir("/proc"):
        pytest.skip("needs a folder that even the superuser cannot write to")
    steps = []
    counted = task._replace(step=lambda *args: steps.append(0) or task.step(*args))
    with pytest.raises(OSError, match=r"cannot write /proc/file\.safetensors: "):
        fit(counted, **keeping("/proc/file.safetensors"))
    assert not steps


@pytest.mark.parametrize("keeping", list(KEEPING.values())[:3], ids=list(KEEPING)[:3])
def test_a_symbolic_link_and_the_mode_of_a_file_stay(task, tmp_path, keeping):
    (tmp_path / "disk").mkdir()
    target, link = tmp_path / "disk" / "a", tmp_path / "a.safetensors"
    settings = {"epochs": 1, **keeping(target.with_suffix(".safetensors"))}
    fit(task, **settings)
    target = target.with_suffix(".safetensors")
    target.chmod(0o600)
    link.symlink_to(target)
    before = target.stat().st_mtime_ns, target.read_bytes()
    fit(task, epochs=2, **keeping(link))
    assert link.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.read_bytes() != before[1]
    assert [entry.name for entry in (tmp_path / "disk").iterdir()] == [target.name]


def test_temporary_files_of_killed_runs_are_removed(task, tmp_path):
    path = tmp_path / "run.safetensors"
    program = textwrap.dedent(
        """
        import os, signal, sys
        import mlx.core as mx
        from lucid_fn import train
        os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
        train.save(sys.argv[1], {"w": mx.zeros((1000,))})
        """
    )
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program, str(path)])
        assert len(list(tmp_path.iterdir())) == 1  # and no more after the second
    done, _ = fit(task, epochs=1, checkpoint=path)
    assert list(tmp_path.iterdir()) == [path]
    assert equal(train.load(path, like=task.start()), done)
