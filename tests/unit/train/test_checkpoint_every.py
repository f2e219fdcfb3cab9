"""Runs that are killed within an epoch resume from the last step that was saved."""

import pytest

from lucid_fn import train
from tests.unit.train.runs import batches_of, equal, evaluation, fit, same


class KilledError(Exception):
    """In place of a kill."""


def killed(task, step, path, **settings):
    """The run of `fit(task)`, which fails after a step."""

    def kill(ts, record):
        if record["step"] == step:
            raise KilledError

    with pytest.raises(KilledError):
        fit(task, checkpoint=path, on_step=kill, **settings)


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


@pytest.mark.parametrize("step", [4, 6])  # within an epoch, and at the end of one
def test_a_run_that_on_step_ended_stays_ended(task, tmp_path, capsys, step):
    path = tmp_path / "run.safetensors"
    straight, expected = fit(task, **evaluation(task))
    settings = {"checkpoint": path, **evaluation(task)}
    stop = lambda ts, record: record["step"] == step  # noqa: E731
    done, first = fit(task, on_step=stop, **settings)
    assert len(first.batch_losses) == step
    again, second = fit(task, on_step=stop, show=True, **settings)
    assert "where on_step ended the run" in capsys.readouterr().out
    assert equal(again, done)
    assert same(second, first)
    resumed, history = fit(task, **settings)
    assert equal(resumed, straight)
    assert same(history, expected)


def test_a_run_killed_after_on_step_ended_it_stays_ended(task, tmp_path):
    settings = {"checkpoint": tmp_path / "run.safetensors", "checkpoint_every": 2}
    stop = lambda ts, record: record["step"] == 4  # noqa: E731
    expected, _ = fit(task, on_step=stop, **evaluation(task))

    def fail(*_):
        raise KilledError

    with pytest.raises(KilledError):
        fit(task, on_step=stop, **{**evaluation(task), "evaluate": fail}, **settings)
    resumed, history = fit(task, on_step=stop, **evaluation(task), **settings)
    assert equal(resumed, expected)
    assert len(history.batch_losses) == 4
