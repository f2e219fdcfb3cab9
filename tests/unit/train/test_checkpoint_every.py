"""Runs that are killed within an epoch resume from the last step that was saved."""

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
from tests.unit.train.runs import batches_of, equal, evaluation, fit


class KilledError(Exception):
    """In place of a kill."""


def killed(task, step, path, **settings):
    """The run of `fit(task)`, which fails after a step."""

    def kill(ts, record):
        if record["step"] == step:
            raise KilledError

    with pytest.raises(KilledError):
        fit(task, checkpoint=path, on_step=kill, **settings)


def same(history, expected):
    """Whether two records agree in all but the time."""

    def numbers(record):
        return {k: v for k, v in record.items() if not k.endswith("_seconds")}

    return history.batch_losses == expected.batch_losses and list(
        map(numbers, history.epochs)
    ) == list(map(numbers, expected.epochs))


@pytest.mark.parametrize("every", [1, 2, 4])
@pytest.mark.parametrize("step", range(1, 10))
def test_a_run_killed_at_any_step_and_resumed_is_the_same(task, tmp_path, every, step):
    path = tmp_path / "run.safetensors"
    straight, expected = fit(task, **evaluation(task))
    settings = {"checkpoint_every": every, **evaluation(task)}
    killed(task, step, path, **settings)
    steps = []
    resumed, history = fit(
        task,
        checkpoint=path,
        on_step=lambda ts, record: steps.append(record["step"]),
        **settings,
    )
    assert equal(resumed, straight)
    assert same(history, expected)
    saved = max((step - 1) // every * every, (step - 1) // 3 * 3)
    assert steps == list(range(saved + 1, 10))
    assert equal(train.load(path, like=task.start()), straight)


def test_a_run_killed_at_every_step_is_the_same(task, tmp_path):
    path = tmp_path / "run.safetensors"
    straight, expected = fit(task, **evaluation(task))
    for step in range(2, 10):
        killed(task, step, path, checkpoint_every=1, **evaluation(task))
    resumed, history = fit(task, checkpoint=path, **evaluation(task))
    assert equal(resumed, straight)
    assert same(history, expected)


@pytest.mark.parametrize("step", [2, 3, 5])
def test_a_run_killed_while_it_evaluates_is_the_same(task, tmp_path, step):
    path, calls = tmp_path / "run.safetensors", []
    straight, expected = fit(task, **evaluation(task))

    def evaluate(ts, x, labels):
        calls.append(1)
        if len(calls) == step:
            raise KilledError
        return task.evaluate(ts, x, labels)

    settings = {**evaluation(task), "checkpoint": path, "checkpoint_every": 1}
    with pytest.raises(KilledError):
        fit(task, **{**settings, "evaluate": evaluate})
    resumed, history = fit(task, **settings)
    assert equal(resumed, straight)
    assert same(history, expected)


def test_skipped_batches_are_not_made(task, tmp_path):
    path, skipped = tmp_path / "run.safetensors", []

    class Watched:
        def __init__(self, epoch):
            self.batches = batches_of(task)(epoch)

        def __len__(self):
            return len(self.batches)

        def __iter__(self):
            return self.skip(0)

        def skip(self, count):
            skipped.append(count)
            return self.batches.skip(count)

    killed(task, 6, path, checkpoint_every=1)
    resumed, _ = train.fit(
        task.start(), task.step, Watched, epochs=3, checkpoint=path, show=False
    )
    assert skipped == [2, 0] or skipped == [2]
    assert equal(resumed, fit(task)[0])


def test_generators_are_skipped_too(task, tmp_path):
    path = tmp_path / "run.safetensors"
    killed(task, 6, path, checkpoint_every=1)
    resumed, _ = train.fit(
        task.start(),
        task.step,
        lambda epoch: iter(batches_of(task)(epoch)),
        epochs=3,
        checkpoint=path,
        show=False,
    )
    assert equal(resumed, fit(task)[0])


def test_an_epoch_of_another_number_of_batches_is_reported(task, tmp_path):
    path = tmp_path / "run.safetensors"
    killed(task, 6, path, checkpoint_every=1)
    message = r"fit: batches must be as many in epoch 2 as when .*, 3, got 5; give"
    with pytest.raises(ValueError, match=message):
        train.fit(
            task.start(), task.step, batches_of(task, 10), epochs=3, checkpoint=path
        )


def test_other_metrics_within_an_epoch_are_reported(task, tmp_path):
    path = tmp_path / "run.safetensors"
    killed(task, 6, path, checkpoint_every=1)

    def step(ts, x, labels):
        ts, metrics = task.step(ts, x, labels)
        return ts, {"loss": metrics["loss"]}

    with pytest.raises(ValueError, match="same metrics for each batch, got loss after"):
        fit(task._replace(step=step), checkpoint=path)


def test_a_resumed_run_prints_where_it_resumes(task, tmp_path, capsys):
    path = tmp_path / "run.safetensors"
    killed(task, 6, path, checkpoint_every=1, config={"epochs": 3, "decay": 0.1})
    fit(task, checkpoint=path, show=True, config={"epochs": 3, "decay": 0.2})
    line = capsys.readouterr().out.splitlines()[0]
    assert line == (
        f"resumed from {path} in epoch 2, after 2 of 3 batches; changed: "
        "decay 0.1 -> 0.2"
    )


def test_an_unchanged_config_is_not_printed(task, tmp_path, capsys):
    path = tmp_path / "run.safetensors"
    for epochs in (1, 2):
        fit(task, epochs=epochs, checkpoint=path, show=True, config={"sizes": (1, 2)})
    assert f"resumed from {path} after epoch 1\n" in capsys.readouterr().out


def test_callbacks_of_a_run_resumed_within_an_epoch(task, tmp_path):
    path, epochs = tmp_path / "run.safetensors", []
    log = tmp_path / "steps.jsonl"

    def callbacks():
        return {
            "on_step": train.to_jsonl(log),
            "on_epoch": [
                lambda ts, record: epochs.append(record["epoch"]),
                train.to_jsonl(tmp_path / "epochs.jsonl"),
            ],
        }

    made = []

    def step(ts, x, labels):
        made.append(1)
        if len(made) == 6:
            raise KilledError
        return task.step(ts, x, labels)

    with pytest.raises(KilledError):
        fit(
            task._replace(step=step), checkpoint=path, checkpoint_every=2, **callbacks()
        )
    assert log.read_text().count("\n") == 5
    fit(task, checkpoint=path, checkpoint_every=2, **callbacks())
    lines = log.read_text().splitlines()
    assert [int(line.split()[1].strip(",")) for line in lines] == list(range(1, 10))
    assert epochs == [1, 2, 3]
    assert (tmp_path / "epochs.jsonl").read_text().count("\n") == 3


def test_checkpoint_every_needs_a_checkpoint(task):
    with pytest.raises(
        ValueError, match=r"checkpoint_every needs .* no checkpoint; gi"
    ):
        fit(task, checkpoint_every=10)
    with pytest.raises(ValueError, match="checkpoint_every must be at least 1, got 0"):
        fit(task, checkpoint_every=0, checkpoint="run.safetensors")


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
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
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


def test_a_run_that_max_steps_ended_within_an_epoch_goes_on(task, tmp_path):
    path = tmp_path / "run.safetensors"
    straight, expected = fit(task, **evaluation(task))
    settings = {"checkpoint": path, **evaluation(task)}
    done, first = fit(task, max_steps=4, **settings)
    again, second = fit(task, max_steps=4, **settings)
    assert equal(again, done)
    assert same(first, second)
    assert len(second.epochs) == 2
    for limit in (5, None):
        resumed, history = fit(task, max_steps=limit, **settings)
    assert equal(resumed, straight)
    assert same(history, expected)


def test_calls_by_steps_with_a_checkpoint_are_one_run(task, tmp_path):
    path = tmp_path / "run.safetensors"
    straight, expected = fit(task)
    ts = task.start()
    for epochs in (3, 3, 2, 2, 1):
        ts, history = fit(task, ts, epochs=epochs, max_steps=2, checkpoint=path)
    assert equal(ts, straight)
    assert same(history, expected)


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
