import collections
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import data, optim, random, train
from tests.unit.train.runs import batches_of, equal, evaluation, fit


def test_the_loss_falls(task):
    _, history = fit(task, epochs=8)
    losses = history.series("train_loss")
    assert losses[-1] < 0.5 * losses[0]


def test_epoch_metrics_are_weighted_by_batch_size(task):
    ts, history = fit(task, epochs=1, **evaluation(task))
    whole = task.evaluate(ts, task.x, task.labels)
    record = history.epochs[0]
    np.testing.assert_allclose(record["test_loss"], whole["loss"].item(), rtol=1e-6)
    sizes, values = [20, 20, 10], history.batch_losses
    expected = sum(n * v for n, v in zip(sizes, values, strict=True)) / 50
    np.testing.assert_allclose(record["train_loss"], expected, rtol=1e-12)


def test_it_equals_a_handwritten_loop(task):
    ts = task.start()
    losses = []
    for epoch in range(3):
        for x, labels in batches_of(task)(epoch):
            ts, metrics = task.step(ts, x, labels)
            losses.append(metrics["loss"].item())
    fitted, history = fit(task)
    assert history.batch_losses == losses
    assert equal(fitted, ts)


def test_the_record_describes_the_run(task):
    _, history = fit(task, config={"batch_size": 20}, **evaluation(task))
    assert history.config == {"batch_size": 20}
    assert history.environment["mlx"] == importlib.metadata.version("mlx")
    assert "cpu" in history.environment["device"]
    assert len(history.batch_losses) == 9
    assert not history.interrupted
    assert set(history.epochs[0]) == {
        "epoch",
        "learning_rate",
        "test_accuracy",
        "test_loss",
        "test_seconds",
        "train_accuracy",
        "train_loss",
        "train_seconds",
    }
    assert history.epochs[0]["learning_rate"] == 0.1


def test_the_record_survives_its_file(task, tmp_path):
    _, history = fit(task, config={"note": "x"})
    history = history._replace(batch_losses=[*history.batch_losses, float("nan")])
    history.to_json(tmp_path / "history.json")
    json.loads((tmp_path / "history.json").read_text(), parse_constant=pytest.fail)
    loaded = train.load_history(tmp_path / "history.json")
    assert np.isnan(loaded.batch_losses[-1])
    assert loaded.batch_losses[:-1] == history.batch_losses[:-1]
    assert loaded._replace(batch_losses=[]) == history._replace(batch_losses=[])


def test_a_series_that_does_not_exist_is_an_error(task):
    _, history = fit(task, epochs=1)
    with pytest.raises(KeyError, match="there is no 'test_loss', only epoch"):
        history.series("test_loss")


def test_a_file_that_is_no_record_is_an_error(tmp_path):
    (tmp_path / "history.json").write_text('{"batch_losses": []')
    with pytest.raises(ValueError, match=r"history\.json is not the record"):
        train.load_history(tmp_path / "history.json")


def test_max_steps_ends_the_run_within_an_epoch(task):
    ts, history = fit(task, max_steps=4)
    assert ts.step.item() == 4
    assert len(history.batch_losses) == 4
    assert len(history.epochs) == 2


def test_a_checkpoint_of_another_optimizer_says_what_to_do(task, tmp_path):
    path = tmp_path / "run.safetensors"
    fit(task, checkpoint=path)
    ts = train.init(task.model, optim.rmsprop(0.1), random.key(0))
    with pytest.raises(ValueError, match="arrays do not fit the template") as error:
        fit(task, ts=ts, checkpoint=path)
    assert any("to start anew, delete it" in note for note in error.value.__notes__)


@pytest.mark.parametrize("last", [2, 3, 4])
def test_a_callback_after_a_step_ends_the_run_there(task, tmp_path, last):
    path = tmp_path / "run.safetensors"
    expected, whole = fit(task, max_steps=last)
    ts, history = fit(
        task, on_step=lambda ts, record: record["step"] == last, checkpoint=path
    )
    assert equal(ts, expected)
    assert history.batch_losses == whole.batch_losses
    assert history.series("train_loss") == whole.series("train_loss")
    resumed, _ = fit(task, checkpoint=path)
    assert equal(resumed, fit(task)[0])


def test_resuming_equals_going_on(task, tmp_path):
    path = tmp_path / "run.safetensors"
    straight, whole = fit(task, epochs=4)
    fit(task, epochs=2, checkpoint=path)
    resumed, history = fit(task, ts=task.start(seed=5), epochs=4, checkpoint=path)
    assert equal(resumed, straight)
    assert history.batch_losses == whole.batch_losses
    assert history.series("epoch") == [1, 2, 3, 4]


def test_resuming_a_finished_run_changes_nothing(task, tmp_path):
    path = tmp_path / "run.safetensors"
    done, _ = fit(task, epochs=2, checkpoint=path)
    again, history = fit(task, epochs=2, checkpoint=path)
    assert equal(again, done)
    assert len(history.epochs) == 2


def test_a_run_that_max_steps_ended_with_an_epoch_goes_on(task, tmp_path):
    path = tmp_path / "run.safetensors"
    straight, _ = fit(task, epochs=4)
    fit(task, epochs=4, max_steps=6, checkpoint=path)
    resumed, history = fit(task, epochs=4, checkpoint=path)
    assert equal(resumed, straight)
    assert history.series("epoch") == [1, 2, 3, 4]


def test_a_checkpoint_without_a_record_is_an_error(task, tmp_path):
    train.save(tmp_path / "run.safetensors", task.start())
    with pytest.raises(ValueError, match="must be one that fit wrote"):
        fit(task, checkpoint=tmp_path / "run.safetensors")


def test_ctrl_c_keeps_what_is_done(task, tmp_path):
    steps = []

    def step(ts, x, labels):
        if len(steps) == 4:
            raise KeyboardInterrupt
        steps.append(1)
        return task.step(ts, x, labels)

    ts, history = train.fit(
        task.start(),
        step,
        batches_of(task),
        epochs=3,
        history_path=tmp_path / "history.json",
        show=False,
    )
    assert ts.step.item() == 4
    assert len(history.batch_losses) == 4
    assert len(history.epochs) == 1
    assert history.interrupted
    assert train.load_history(tmp_path / "history.json") == history


@pytest.mark.parametrize("place", ["batches", "step", "evaluate"])
def test_ctrl_c_anywhere_leaves_a_state_and_a_record_of_as_many_steps(task, place):
    calls = collections.Counter()

    def interrupt(here):
        calls[here] += 1
        if here == place and calls[here] == 3:
            signal.raise_signal(signal.SIGINT)

    def batches(epoch):
        for batch in batches_of(task)(epoch):
            interrupt("batches")
            yield batch

    def step(ts, x, labels):
        interrupt("step")
        return task.step(ts, x, labels)

    def evaluate(ts, x, labels):
        interrupt("evaluate")
        return task.evaluate(ts, x, labels)

    handler = signal.getsignal(signal.SIGINT)
    test_batches = list(batches_of(task)(0))
    ts, history = train.fit(
        task.start(),
        step,
        batches,
        epochs=3,
        evaluate=evaluate,
        test_batches=test_batches,
        show=False,
    )
    assert history.interrupted
    assert ts.step.item() == len(history.batch_losses) == calls["step"]
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_second_ctrl_c_does_not_wait(task):
    def step(ts, x, labels):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("the step went on")

    ts, history = train.fit(task.start(), step, batches_of(task), epochs=1, show=False)
    assert history.interrupted
    assert ts.step.item() == len(history.batch_losses) == 0


def test_a_programs_own_handler_of_ctrl_c_stays(task):
    seen = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    try:

        def step(ts, x, labels):
            signal.raise_signal(signal.SIGINT)
            return task.step(ts, x, labels)

        _, history = train.fit(
            task.start(), step, batches_of(task), epochs=1, show=False
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(seen) == len(history.batch_losses) > 0
    assert not history.interrupted


def test_a_real_ctrl_c_ends_a_script_in_order(tmp_path):
    program = textwrap.dedent(
        """
        import signal, sys
        import mlx.core as mx
        from lucid_fn import losses, nn, optim, random, train
        # Programs in the background of a shell begin with it ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        model, optimizer = nn.linear(4, 2), optim.sgd(0.1)
        step = train.make_step(model, optimizer, losses.softmax_cross_entropy)
        batch = (mx.ones((8, 4)), mx.zeros((8,), mx.int32))
        ts = train.init(model, optimizer, random.key(0))
        print("ready", flush=True)
        ts, history = train.fit(
            ts, step, lambda epoch: [batch] * 50, epochs=10**9,
            history_path=sys.argv[1], show=False,
        )
        assert history.interrupted and ts.step.item() == len(history.batch_losses)
        """
    )
    path = tmp_path / "history.json"
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout.readline() == "ready\n"
        while not path.exists():
            time.sleep(0.02)
            assert run.poll() is None
        os.kill(run.pid, signal.SIGINT)
        assert run.wait() == 0
    assert train.load_history(path).interrupted


def test_one_line_an_epoch_is_printed(task, capsys):
    fit(task, show=True, **evaluation(task))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("epoch 1/3  train loss ")
    assert "  test loss " in lines[0]
    assert "  lr 0.1  " in lines[0]


def test_batches_must_be_a_function_of_the_epoch(task):
    batches = data.batches((task.x, task.labels), 20)
    with pytest.raises(TypeError, match="batches must be a function of the epoch"):
        train.fit(task.start(), task.step, batches, epochs=1)


@pytest.mark.parametrize("batches", [lambda: [], lambda epoch, step: []])
def test_a_function_that_does_not_take_the_epoch_is_an_error(task, batches):
    with pytest.raises(TypeError, match=r"fit: batches must take one argument, the ep"):
        train.fit(task.start(), task.step, batches, epochs=1)


@pytest.mark.parametrize("name", ["on_step", "on_epoch"])
@pytest.mark.parametrize("callback", [lambda ts: None, train.early_stopping])
def test_a_callback_that_does_not_take_both_arguments_is_an_error(task, name, callback):
    message = (
        rf"fit: {name} must be a function of \(ts, record\).* got {callback.__name__}"
    )
    with pytest.raises(TypeError, match=message):
        fit(task, **{name: callback})


def test_test_batches_must_allow_a_second_pass(task):
    once = iter(data.batches((task.x, task.labels), 20))
    with pytest.raises(TypeError, match="another pass after each epoch, got generator"):
        fit(task, evaluate=task.evaluate, test_batches=once)


def test_evaluate_without_test_batches_is_an_error(task):
    with pytest.raises(ValueError, match="go together, got no test_batches"):
        fit(task, evaluate=task.evaluate)


@pytest.mark.parametrize("name", ["epochs", "max_steps"])
def test_counts_below_one_are_errors(task, name):
    with pytest.raises(ValueError, match=f"fit: {name} must be at least 1, got 0"):
        fit(task, **{name: 0})


def test_an_epoch_without_batches_is_an_error(task):
    used_up = iter([(task.x, task.labels)])
    for batches, epoch in ((lambda epoch: [], 1), (lambda epoch: used_up, 2)):
        message = f"at least one batch per epoch, got none in epoch {epoch}; return n"
        with pytest.raises(ValueError, match=message):
            train.fit(task.start(), task.step, batches, epochs=2, show=False)


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        ({"checkpoint": "run.npz"}, ValueError, "checkpoint must end in .safetensors"),
        (
            {"checkpoint": "no/r.safetensors"},
            FileNotFoundError,
            "checkpoint must be",
        ),
        ({"history_path": "no/r.json"}, FileNotFoundError, "history_path must be"),
        ({"history_path": "."}, IsADirectoryError, "history_path must be a file"),
        ({"config": {"lr": np.float32(0.1)}}, TypeError, "config must hold strings"),
        ({"test_batches": lambda: []}, TypeError, "test_batches must be an iterable"),
    ],
)
def test_files_that_cannot_be_written_are_reported_before_the_first_step(
    task, settings, kind, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    steps = []
    counted = task._replace(step=lambda *args: steps.append(0) or task.step(*args))
    with pytest.raises(kind, match=f"fit: {message}"):
        fit(counted, **{"evaluate": task.evaluate, "test_batches": [], **settings})
    assert not steps


def test_means_are_weighted_by_examples_and_not_by_what_they_share(task):
    def step(ts, batch, targets):
        return ts, {"loss": targets.astype(mx.float32).mean()}

    mask = mx.ones((5, 5))
    targets = [mx.zeros((30,)), mx.ones((10,))]
    _, history = train.fit(
        task.start(),
        step,
        lambda epoch: [({"mask": mask, "x": t[:, None]}, t) for t in targets],
        epochs=1,
        show=False,
    )
    assert history.epochs[0]["train_loss"] == pytest.approx(0.25)


def test_an_epoch_is_kept_before_it_is_printed(task, tmp_path, monkeypatch):
    def closed(*_, **__):
        raise BrokenPipeError("closed")

    monkeypatch.setattr("builtins.print", closed)
    path = tmp_path / "run.safetensors"
    with pytest.raises(BrokenPipeError):
        fit(task, checkpoint=path, show=True)
    assert path.exists()
