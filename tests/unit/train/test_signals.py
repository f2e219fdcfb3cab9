"""Signals end a run after a whole step, from which it resumes."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from lucid_fn import train
from lucid_fn.train import checkpoint
from tests.unit.train.runs import equal, evaluation, fit, same


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["step", "evaluate"])
@pytest.mark.parametrize("call", [1, 3, 4])
def test_a_signal_saves_the_last_whole_step(
    task, tmp_path, capsys, number, where, call
):
    path, calls = tmp_path / "run.safetensors", []
    handler = signal.getsignal(number)

    def interrupted(fn):
        def called(ts, x, labels):
            calls.append(1)
            if len(calls) == call:
                signal.raise_signal(number)
            return fn(ts, x, labels)

        return called

    changed = {where: interrupted(getattr(task, where))}
    settings = {**evaluation(task), "checkpoint": path}
    ts, history = fit(
        task._replace(**changed),
        show=True,
        **{**settings, **{k: v for k, v in changed.items() if k == "evaluate"}},
    )
    assert signal.getsignal(number) == handler
    assert history.interrupted
    assert equal(train.load(path, like=task.start()), ts)
    assert ts.step.item() == (call if where == "step" else 3 * (-(-call // 2)))
    assert f"interrupted: {path} resumes in epoch " in capsys.readouterr().out
    resumed, history = fit(task, **settings)
    straight, expected = fit(task, **evaluation(task))
    assert equal(resumed, straight)
    assert same(history, expected)
    assert not history.interrupted


def test_a_second_signal_stops_at_once_and_leaves_the_old_file(
    task, tmp_path, monkeypatch, capsys
):
    path = tmp_path / "run.safetensors"
    fit(task, epochs=1, checkpoint=path)
    before = path.read_bytes()

    def step(ts, x, labels):
        signal.raise_signal(signal.SIGTERM)
        return task.step(ts, x, labels)

    monkeypatch.setattr(os, "fsync", lambda file: signal.raise_signal(signal.SIGTERM))
    _, history = fit(task._replace(step=step), checkpoint=path, show=True)
    assert history.interrupted
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    assert f"{path} resumes after epoch 1" in capsys.readouterr().out


def test_a_second_signal_while_an_epoch_is_saved_leaves_its_record_out(
    task, tmp_path, monkeypatch, capsys
):
    path, saves = tmp_path / "run.safetensors", []

    def fsync(file):
        saves.append(1)
        if len(saves) == 2:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "fsync", fsync)
    _, history = fit(task, checkpoint=path, show=True)
    assert history.interrupted
    assert history.series("epoch") == [1]
    assert f"{path} resumes after epoch 1" in capsys.readouterr().out
    monkeypatch.undo()
    assert equal(fit(task, checkpoint=path)[0], fit(task)[0])


def test_sigterm_without_a_checkpoint_is_left_alone(task):
    handlers = []

    def step(ts, x, labels):
        handlers.append(signal.getsignal(signal.SIGTERM))
        return task.step(ts, x, labels)

    fit(task._replace(step=step), epochs=1)
    assert set(handlers) == {signal.SIG_DFL}


def test_a_programs_own_handler_of_sigterm_stays(task, tmp_path):
    def own(*_):
        raise AssertionError

    before = signal.signal(signal.SIGTERM, own)
    handlers = []

    def step(ts, x, labels):
        handlers.append(signal.getsignal(signal.SIGTERM))
        return task.step(ts, x, labels)

    try:
        fit(task._replace(step=step), epochs=1, checkpoint=tmp_path / "run.safetensors")
        assert signal.getsignal(signal.SIGTERM) is own
    finally:
        signal.signal(signal.SIGTERM, before)
    assert set(handlers) == {own}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forks")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_processes_that_a_step_forks_can_be_terminated(task, tmp_path):
    codes = []

    def step(ts, x, labels):
        ready, started = os.pipe()
        if not (child := os.fork()):
            os.write(started, b".")  # a signal during the fork would be lost
            for _ in range(600):  # handlers run between two calls
                time.sleep(0.1)
            os._exit(0)
        os.read(ready, 1)
        os.close(ready)
        os.close(started)
        os.kill(child, signal.SIGTERM)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        return task.step(ts, x, labels)

    fit(
        task._replace(step=step),
        max_steps=1,
        checkpoint=tmp_path / "run.safetensors",
    )
    assert codes == [-signal.SIGTERM]


PROGRAM = textwrap.dedent(
    """
    import sys
    import numpy as np
    from lucid_fn import data, losses, nn, optim, random, train
    from tests.fusion import unfused

    path, waits_at = sys.argv[1], int(sys.argv[2])

    def wait(ts, record):
        if record["step"] == waits_at:
            print("waits", flush=True)
            sys.stdin.readline()

    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 4)).astype(np.float32)
    labels = rng.integers(0, 2, 64).astype(np.int32)
    model = nn.serial(
        nn.linear(4, 8), nn.batch_norm(8), nn.dropout(0.2), nn.linear(8, 2)
    )
    optimizer = optim.adam(0.01)
    with unfused():
        ts, history = train.fit(
            train.init(model, optimizer, random.key(0)),
            train.make_step(model, optimizer, losses.softmax_cross_entropy),
            lambda epoch: data.batches((x, labels), 2, seed=(0, epoch)),
            epochs=3,
            checkpoint=path,
            on_step=wait,
            show=False,
        )
    print("interrupted" if history.interrupted else "done")
    """
)


def test_a_real_sigterm_saves_the_run_which_goes_on_bit_for_bit(tmp_path):
    def run(name, waits_at=0):
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / name), str(waits_at)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, **pipes, text=True) as process:
            if waits_at:
                assert process.stdout.readline() == "waits\n"
                process.terminate()
            output, _ = process.communicate("\n")
        assert process.returncode == 0
        return output.strip()

    for step in (5, 40, 64):
        assert run("run.safetensors", step) == "interrupted"
        metadata = train.load_metadata(tmp_path / "run.safetensors")
        assert len(json.loads(metadata["history"])["batch_losses"]) == step
    for name in ("run.safetensors", "straight.safetensors"):
        assert run(name) == "done"
    one, other = (tmp_path / f"{name}.safetensors" for name in ("run", "straight"))
    ours, theirs = (checkpoint.read(path, "test") for path in (one, other))
    assert equal(ours[0], theirs[0])
    records = [json.loads(metadata["history"]) for _, metadata in (ours, theirs)]
    assert same(*(train.History(**record) for record in records))


def test_a_handler_that_a_step_sets_stays(task, tmp_path):
    def handler(*_):
        pass

    def on_step(ts, record):
        signal.signal(signal.SIGTERM, handler)

    before = signal.getsignal(signal.SIGTERM)
    try:
        fit(task, on_step=on_step, checkpoint=tmp_path / "run.safetensors")
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_signal_while_a_finished_run_resumes_is_reported(task, tmp_path):
    path = tmp_path / "run.safetensors"
    fit(task, checkpoint=path)
    ask = lambda ts, record: signal.raise_signal(signal.SIGINT)  # noqa: E731
    _, history = fit(task, checkpoint=path, on_epoch=ask)
    assert history.interrupted
