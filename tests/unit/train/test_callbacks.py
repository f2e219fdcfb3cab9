"""Callbacks of `fit` after steps and epochs."""

import json
import subprocess
import sys
import types

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import train
from tests.unit.train.runs import equal, evaluation, fit


def records(name, values):
    return [{"epoch": i, name: value} for i, value in enumerate(values, 1)]


def test_on_epoch_gets_the_state_and_the_record(task):
    calls = []
    ts, history = fit(task, on_epoch=lambda *arguments: calls.append(arguments))
    assert [record for _, record in calls] == history.epochs
    assert [state.step.item() for state, _ in calls] == [3, 6, 9]
    assert equal(calls[-1][0], ts)


def test_on_step_gets_the_state_and_the_numbers_of_the_step(task):
    calls = []
    ts, history = fit(task, on_step=lambda *arguments: calls.append(arguments))
    assert [record["loss"] for _, record in calls] == history.batch_losses
    assert [record["step"] for _, record in calls] == list(range(1, 10))
    assert [record["epoch"] for _, record in calls] == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert [state.step.item() for state, _ in calls] == list(range(1, 10))
    assert set(calls[0][1]) == {"epoch", "step", "loss", "accuracy", "learning_rate"}
    assert all(isinstance(x, int | float) for _, r in calls for x in r.values())
    assert equal(calls[-1][0], ts)


def test_callbacks_do_not_change_the_run(task):
    with_callbacks, history = fit(
        task,
        on_step=lambda ts, record: record.clear(),
        on_epoch=[lambda ts, record: record.clear(), lambda ts, record: 1],
    )
    without, expected = fit(task)
    assert equal(with_callbacks, without)
    assert history.batch_losses == expected.batch_losses
    assert history.series("train_loss") == expected.series("train_loss")


@pytest.mark.parametrize("true", [True, np.True_, mx.array(True)])
def test_true_ends_the_run(task, true):
    ts, history = fit(task, on_epoch=lambda ts, record: true)
    assert ts.step.item() == 3
    assert len(history.epochs) == 1
    assert not history.interrupted


@pytest.mark.parametrize("other", [None, False, 17, "text", np.False_, mx.array(2)])
def test_nothing_else_ends_it(task, other):
    _, history = fit(task, on_epoch=lambda ts, record: other)
    assert len(history.epochs) == 3


def test_all_of_a_list_are_called_though_the_first_ends_the_run(task):
    calls = []
    _, history = fit(
        task, on_epoch=[lambda *_: True, lambda ts, record: calls.append(record)]
    )
    assert calls == history.epochs


def test_an_epoch_is_kept_before_callbacks_that_may_raise(task, tmp_path):
    def broken(ts, record):
        raise OSError("no server")

    path = tmp_path / "run.safetensors"
    with pytest.raises(OSError, match="no server"):
        fit(task, checkpoint=path, on_epoch=broken)
    assert train.load(path, like=task.start()).step.item() == 3


@pytest.mark.parametrize("name", ["on_step", "on_epoch"])
def test_callbacks_that_are_not_functions_are_errors(task, name):
    for given in (3, [print, "print"]):
        with pytest.raises(TypeError, match=f"fit: {name} must be a function of"):
            fit(task, **{name: given})


def test_a_resumed_run_calls_on_epoch_for_its_last_epoch_again(task, tmp_path):
    path, calls = tmp_path / "run.safetensors", []
    fit(task, epochs=2, checkpoint=path)
    fit(task, checkpoint=path, on_epoch=lambda ts, r: calls.append((ts, r)))
    assert [record["epoch"] for _, record in calls] == [2, 3]
    assert [state.step.item() for state, _ in calls] == [6, 9]


def test_a_run_that_on_epoch_ended_stays_ended(task, tmp_path):
    path = tmp_path / "run.safetensors"

    def second(ts, record):
        return record["epoch"] == 2

    for _ in range(2):
        ts, history = fit(task, checkpoint=path, on_epoch=second)
        assert ts.step.item() == 6
        assert len(history.epochs) == 2


@pytest.mark.parametrize(
    ("metric", "values", "patience", "ends"),
    [
        ("test_loss", [3, 2, 1, 1, 1], 2, 5),
        ("test_loss", [3, 2, 2.5, 1, 2, 0.5, 1, 1], 2, 8),
        ("test_accuracy", [0.1, 0.2, 0.15], 1, 3),
        ("test_accuracy", [0.1, 0.2, 0.3], 1, None),
        ("test_acc", [0.1, 0.2, 0.15], 1, 3),
        ("test_loss", [float("nan")] * 3, 2, 3),
        ("test_loss", [1, float("nan"), 0.5, 0.6], 2, None),
        ("test_loss", [float("inf"), 1.0, 2.0], 1, 3),
    ],
)
def test_early_stopping_waits_for_its_patience(metric, values, patience, ends):
    stop = train.early_stopping(metric, patience=patience)
    stopped = [stop(None, record) for record in records(metric, values)]
    assert stopped == [i == ends for i in range(1, len(values) + 1)]


def test_early_stopping_ends_a_run_and_its_resumption_alike(task, tmp_path):
    def run(**settings):
        # The learning rate stays as it is: the first epoch is the best.
        stop = train.early_stopping("learning_rate", patience=3, higher_is_better=True)
        return fit(task, on_epoch=stop, **settings)

    straight, history = run(epochs=20)
    assert len(history.epochs) == 4
    path = tmp_path / "run.safetensors"
    for epochs in (1, 2, 3, 20, 20):
        resumed, history = run(epochs=epochs, checkpoint=path)
        assert len(history.epochs) == min(epochs, 4)
    assert equal(resumed, straight)


def test_a_metric_may_be_added_to_a_run_that_resumes(task, tmp_path):
    fit(task, epochs=2, checkpoint=tmp_path / "run.safetensors")
    best = tmp_path / "best.safetensors"
    _, history = fit(
        task,
        epochs=20,
        checkpoint=tmp_path / "run.safetensors",
        evaluate=lambda ts, x, y: {"loss": mx.array(1.0)},
        test_batches=[(task.x, task.labels)],
        on_epoch=[
            train.early_stopping("test_loss", patience=2),
            train.keep_best(best, "test_loss"),
        ],
    )
    assert history.series("test_loss")[2:] == [1.0] * 3
    assert np.isnan(history.series("test_loss")[:2]).all()
    assert train.load_metadata(best)["epoch"] == "3"


@pytest.mark.parametrize("make", [train.early_stopping, train.keep_best])
def test_callbacks_for_epochs_refuse_the_record_of_a_step(task, make, tmp_path):
    arguments = {"patience": 1} if make is train.early_stopping else {}
    path = [tmp_path / "best.safetensors"] if make is train.keep_best else []
    message = rf"train\.{make.__name__}: must be called after epochs, .* on_epoch="
    with pytest.raises(ValueError, match=message):
        fit(task, on_step=make(*path, "loss", **arguments))


def test_a_second_run_begins_anew():
    stop = train.early_stopping("test_loss", patience=2)
    for _ in range(2):
        ended = [stop(None, record) for record in records("test_loss", [1.0, 2.0, 3.0])]
        assert ended == [False, False, True]


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"metric": "test_size"}, ValueError, "'test_size' does not tell which"),
        ({"metric": 3}, TypeError, "metric must be a name"),
        ({"patience": 0}, ValueError, "patience must be at least 1, got 0"),
        ({"patience": 1.5}, TypeError, "patience must be an integer, got 1.5"),
        ({"patience": True}, TypeError, "patience must be an integer, got True"),
        ({"higher_is_better": 1}, TypeError, "higher_is_better must be a bool"),
    ],
)
def test_arguments_of_early_stopping_are_checked(arguments, kind, message):
    with pytest.raises(kind, match=rf"^train\.early_stopping: .*{message}"):
        train.early_stopping(**{"metric": "test_loss", "patience": 1, **arguments})


def test_a_metric_that_is_not_recorded_is_reported_with_those_that_are(task):
    stop = train.early_stopping("test_loss", patience=1)
    with pytest.raises(ValueError, match=r"got 'test_loss'; there is epoch, train_lo"):
        fit(task, on_epoch=stop)


def test_the_best_epoch_is_kept(task, tmp_path):
    path, states = tmp_path / "best.safetensors", []
    _, history = fit(
        task,
        epochs=6,
        on_epoch=[
            lambda ts, record: states.append(ts),
            train.keep_best(path, "test_loss"),
        ],
        **evaluation(task),
    )
    losses = history.series("test_loss")
    best = losses.index(min(losses))
    assert equal(train.load(path, like=task.start()), states[best])
    assert train.load_metadata(path) == {
        "epoch": str(best + 1),
        "metric": "test_loss",
        "value": repr(losses[best]),
    }


def test_a_resumed_run_keeps_its_best_epoch(tmp_path):
    path = tmp_path / "best.safetensors"
    accuracies = [0.9, 0.5, 0.95, float("nan")]
    past = records("test_accuracy", accuracies)
    train.save(path, {"w": mx.array(1.0)})
    keep = train.keep_best(path, "test_accuracy")
    keep.resume(past[:1], 2)
    for record, kept in zip(past[1:], (1.0, 3.0, 3.0), strict=True):
        keep({"w": mx.array(float(record["epoch"]))}, record)
        assert train.load(path, like={"w": mx.array(0.0)})["w"].item() == kept


def test_lines_of_a_log_are_the_records(task, tmp_path):
    path, steps = tmp_path / "epochs.jsonl", tmp_path / "steps.jsonl"
    _, history = fit(task, on_epoch=train.to_jsonl(path), on_step=train.to_jsonl(steps))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"step": 3 * r["epoch"], **r} for r in history.epochs]
    losses = [json.loads(line)["loss"] for line in steps.read_text().splitlines()]
    assert losses == history.batch_losses


def test_numbers_that_json_lacks_are_logged_as_strings(task, tmp_path):
    path = tmp_path / "log.jsonl"
    train.to_jsonl(path)(task.start(), {"epoch": 1, "loss": float("nan")})
    record = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert record == {"step": 0, "epoch": 1, "loss": "nan"}


def test_a_log_of_a_resumed_run_has_each_epoch_once(task, tmp_path):
    checkpoint = tmp_path / "run.safetensors"
    epochs, steps = tmp_path / "epochs.jsonl", tmp_path / "steps.jsonl"

    def logs():
        return {"on_epoch": train.to_jsonl(epochs), "on_step": train.to_jsonl(steps)}

    fit(task, epochs=2, checkpoint=checkpoint, **logs())
    with steps.open("a") as file:  # what was logged between the checkpoint and a kill
        file.write('{"step": 7, "epoch": 3, "loss": 0.5}\n{"step": 8, "epo')
    _, history = fit(task, checkpoint=checkpoint, **logs())
    lines = [json.loads(line) for line in epochs.read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    lines = [json.loads(line) for line in steps.read_text().splitlines()]
    assert [line["loss"] for line in lines] == history.batch_losses


def test_an_array_in_a_record_for_jsonl_is_reported(task, tmp_path):
    log = train.to_jsonl(tmp_path / "log.jsonl")
    with pytest.raises(TypeError, match=r"to_jsonl: the record must .*\.item\(\)"):
        log(task.start(), {"epoch": 1, "bleu": mx.array(0.5)})


@pytest.mark.parametrize("make", [train.to_jsonl, train.keep_best])
def test_a_folder_that_cannot_be_written_to_is_reported_at_once(tmp_path, make):
    arguments = ["test_loss"] if make is train.keep_best else []
    path = tmp_path / "none" / "file.safetensors"
    with pytest.raises(FileNotFoundError, match=rf"train\.{make.__name__}: .*{path}"):
        make(path, *arguments)


def test_tensorboard_gets_a_scalar_for_each_number(task, tmp_path, monkeypatch):
    written = []

    class Writer:
        def __init__(self, folder):
            written.append(folder)

        def add_scalar(self, tag, value, step):
            written.append((tag, value, step))

        def flush(self):
            written.append("flush")

        def close(self):
            pass

    package = types.ModuleType("tensorboard")
    package.summary = types.ModuleType("tensorboard.summary")
    package.summary.Writer = Writer
    monkeypatch.setitem(sys.modules, "tensorboard", package)
    monkeypatch.setitem(sys.modules, "tensorboard.summary", package.summary)
    log = train.to_tensorboard(tmp_path / "runs" / "a")
    assert (tmp_path / "runs" / "a").is_dir() and not written
    _, history = fit(task, epochs=1, on_epoch=log, on_step=log)
    assert written[0] == str(tmp_path / "runs" / "a")
    for step, loss in enumerate(history.batch_losses, 1):
        assert ("loss", loss, step) in written
    assert ("train/loss", history.epochs[0]["train_loss"], 3) in written
    assert written[-1] == "flush"
    assert not any(entry[0] in ("epoch", "step") for entry in written)


def test_tensorboard_reads_what_is_written(task, tmp_path):
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    _, history = fit(task, on_epoch=train.to_tensorboard(tmp_path))
    events = accumulators.EventAccumulator(str(tmp_path))
    events.Reload()
    scalars = events.Tensors("train/loss")
    assert [event.step for event in scalars] == [3, 6, 9]
    values = [event.tensor_proto.float_val[0] for event in scalars]
    np.testing.assert_allclose(values, history.series("train_loss"), rtol=1e-6)


def test_steps_alone_reach_tensorboard_when_the_program_ends(tmp_path):
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    code = (
        "import sys, mlx.core as mx; from lucid_fn import nn, optim, random, train; "
        "log = train.to_tensorboard(sys.argv[1]); "
        "ts = train.init(nn.linear(3, 2), optim.sgd(0.1), random.key(0)); "
        "[log(ts, {'epoch': 1, 'step': i, 'loss': i}) for i in range(5)]"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    events = accumulators.EventAccumulator(str(tmp_path))
    events.Reload()
    values = [event.tensor_proto.float_val[0] for event in events.Tensors("loss")]
    assert values == [0, 1, 2, 3, 4]


def test_without_tensorboard_the_error_says_how_to_get_it(tmp_path):
    code = (
        "import sys; sys.modules['tensorboard'] = None; from lucid_fn import train; "
        "train.to_tensorboard(sys.argv[1])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True
    )
    assert (
        "train.to_tensorboard needs TensorBoard: pip install 'lucid-fn[" in run.stderr
    )
