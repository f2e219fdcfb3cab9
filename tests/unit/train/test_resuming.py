"""Where a run starts: at its state, or at its checkpoint."""

import collections
import json
import warnings

import mlx.core as mx
import pytest

from lucid_fn import data, losses, nn, optim, random, schedules, train
from lucid_fn.train import checkpoint
from tests.unit.train.runs import batches_of, equal, fit


def test_calls_in_a_loop_are_one_run(task):
    straight, whole = fit(task)
    ts, batch_losses, epochs = task.start(), [], []
    for _ in range(3):
        ts, history = fit(task, ts, epochs=1)
        batch_losses += history.batch_losses
        epochs += history.series("epoch")
    assert equal(ts, straight)
    assert batch_losses == whole.batch_losses
    assert epochs == [1, 2, 3]


def test_calls_in_a_loop_with_a_checkpoint_are_one_run(task, tmp_path):
    straight, whole = fit(task)
    ts = task.start()
    for _ in range(3):
        ts, history = fit(task, ts, epochs=1, checkpoint=tmp_path / "run.safetensors")
    assert equal(ts, straight)
    assert history.batch_losses == whole.batch_losses
    assert history.series("epoch") == [1, 2, 3]


def test_a_loop_by_start_epoch_that_is_started_again_is_the_same_run(task, tmp_path):
    def loop(epochs):
        ts = task.start()
        for epoch in range(epochs):
            ts, history = fit(
                task, ts, epochs=1, start_epoch=epoch,
                checkpoint=tmp_path / "run.safetensors",
            )  # fmt: skip
        return ts, history

    loop(2)
    resumed, history = loop(4)
    straight, _ = fit(task, epochs=4)
    assert equal(resumed, straight)
    assert history.series("epoch") == [1, 2, 3, 4]


@pytest.mark.parametrize("steps", range(1, 9))
def test_a_state_from_within_an_epoch_gets_what_is_left_of_it(task, steps):
    straight, whole = fit(task)
    ts, first = fit(task, max_steps=steps)
    ts, second = fit(task, ts, epochs=3 - steps // 3)
    assert equal(ts, straight)
    assert first.batch_losses + second.batch_losses == whole.batch_losses
    assert second.series("epoch") == list(range(1 + steps // 3, 4))


def test_ctrl_c_and_another_call_are_one_run(task):
    steps = collections.Counter()

    def step(ts, x, labels):
        steps["made"] += 1
        if steps["made"] == 5:
            raise KeyboardInterrupt
        return task.step(ts, x, labels)

    straight, _ = fit(task)
    ts, history = fit(task._replace(step=step))
    assert history.interrupted
    ts, _ = fit(task, ts, epochs=2)
    assert equal(ts, straight)


def test_an_interrupt_before_the_first_checkpoint_is_reported(task, tmp_path, capsys):
    def step(ts, x, labels):
        raise KeyboardInterrupt

    path = tmp_path / "run.safetensors"
    train.fit(task.start(), step, batches_of(task), epochs=3, checkpoint=path)
    assert f"interrupted before {path} was written" in capsys.readouterr().out


def test_start_epoch_says_which_epoch_it_is(task):
    epochs = []

    def batches(epoch):
        epochs.append(epoch)
        return iter(batches_of(task)(epoch))

    ts, _ = fit(task, epochs=1)
    train.fit(ts, task.step, batches, epochs=2, start_epoch=7, show=False)
    assert epochs == [7, 8]


def test_an_epoch_that_cannot_be_computed_must_be_given(task):
    ts, _ = fit(task, epochs=1)
    for make in (iter, lambda batches: data.prefetch(iter(batches))):
        with pytest.raises(ValueError, match=r"start_epoch must be given .* of step 3"):
            train.fit(
                ts,
                task.step,
                lambda epoch, make=make: make(batches_of(task)(epoch)),
                epochs=1,
                show=False,
            )


def test_max_steps_counts_from_the_state(task):
    ts, _ = fit(task, max_steps=2)
    ts, history = fit(task, ts, max_steps=2)
    assert ts.step.item() == 4
    assert len(history.batch_losses) == 2


def test_a_checkpoint_behind_the_state_is_an_error(task, tmp_path):
    path = tmp_path / "run.safetensors"
    fit(task, epochs=1, checkpoint=path)
    ts, _ = fit(task, epochs=2)
    with pytest.raises(ValueError, match=r"one of step 3 for a ts of step 6; .* delet"):
        fit(task, ts, checkpoint=path)


def test_an_older_checkpoint_that_ends_within_an_epoch_is_reported(task, tmp_path):
    path = tmp_path / "run.safetensors"
    ts, history = fit(task, max_steps=4)
    metadata = {"history": history.dumps(), "start_step": "0", "cut": "True"}
    train.save(path, ts, metadata=metadata)
    again, _ = fit(task, max_steps=4, checkpoint=path)
    assert equal(again, ts)
    for limit in (5, None):
        with pytest.raises(
            ValueError, match=r"older version .* at step 4, within epoch 2, .* delete"
        ):
            fit(task, max_steps=limit, checkpoint=path)


def test_a_record_that_disagrees_with_its_state_is_an_error(task, tmp_path):
    path = tmp_path / "run.safetensors"
    ts, history = fit(task, checkpoint=path)
    shortened = history._replace(
        batch_losses=history.batch_losses[:6], epochs=history.epochs[:2]
    )
    gap = history._replace(epochs=[history.epochs[0], history.epochs[2]])
    empty = history._replace(epochs=[])
    for damaged in (shortened, gap, empty):
        metadata = {**train.load_metadata(path), "history": damaged.dumps()}
        train.save(tmp_path / "damaged.safetensors", ts, metadata=metadata)
        with pytest.raises(
            ValueError, match=r"fit: .*damaged\.safetensors must have a"
        ):
            fit(task, checkpoint=tmp_path / "damaged.safetensors")


def test_a_run_that_began_with_steps_resumes_from_its_checkpoint(task, tmp_path):
    began, _ = fit(task, epochs=1)
    path = tmp_path / "run.safetensors"
    fit(task, began, epochs=1, checkpoint=path)
    resumed, history = fit(task, began, epochs=3, checkpoint=path)
    straight, _ = fit(task, epochs=4)
    assert equal(resumed, straight)
    assert history.series("epoch") == [2, 3, 4]


def test_a_step_that_does_not_count_is_an_error_with_a_checkpoint(task, tmp_path):
    def step(ts, x, labels):
        new, metrics = task.step(ts, x, labels)
        return new._replace(step=ts.step), metrics

    uncounted = task._replace(step=step)
    fit(uncounted, epochs=1)
    with pytest.raises(ValueError, match=r"step must return ts\.step \+ 1, .* got 0"):
        fit(uncounted, epochs=1, checkpoint=tmp_path / "run.safetensors")


def run_with(optimizer, path, epochs):
    model = nn.linear(2, 2)
    return train.fit(
        train.init(model, optimizer, random.key(0)),
        train.make_step(model, optimizer, losses.softmax_cross_entropy),
        lambda epoch: [(mx.ones((4, 2)), mx.array([0, 1, 0, 0]))] * 3,
        epochs=epochs,
        checkpoint=path,
        show=False,
    )


@pytest.mark.parametrize(
    ("make", "old", "new", "name"),
    [
        (optim.sgd, 0.1, 0.01, "learning_rate"),
        (optim.adam, 0.1, 0.01, "learning_rate"),
        (lambda x: optim.inject(optim.sgd, 0.1, momentum=x), 0.9, 0.8, "momentum"),
        (
            lambda x: optim.chain(optim.clip_by_global_norm(1.0), optim.sgd(x)),
            0.1,
            0.2,
            "learning_rate",
        ),
    ],
)
def test_a_setting_that_the_code_has_changed_is_reported(
    tmp_path, make, old, new, name
):
    path = tmp_path / "run.safetensors"
    run_with(make(old), path, 1)
    with pytest.warns(UserWarning, match=rf"{name}\S* is {new} .* keeps {old}") as told:
        run_with(make(new), path, 2)
    assert len(told) == 1
    assert told[0].filename == __file__
    run_with(make(old), path, 3)  # what is as it was is not said


def test_the_fix_that_the_warning_suggests_works(tmp_path):
    path = tmp_path / "run.safetensors"
    like, _ = run_with(optim.sgd(0.1), path, 1)
    ts = train.load(path, like=like)
    ts = ts._replace(opt_state=optim.set_learning_rate(ts.opt_state, 0.01))
    train.save(path, ts, metadata=train.load_metadata(path))
    _, history = run_with(optim.sgd(0.01), path, 2)
    assert history.series("learning_rate") == pytest.approx([0.1, 0.01])


def test_a_changed_schedule_is_used_and_not_reported(tmp_path):
    path = tmp_path / "run.safetensors"
    for init_value, epochs in ((0.1, 1), (0.2, 2)):
        rate = schedules.step_decay(init_value, step_size=3, gamma=0.5)
        _, history = run_with(optim.sgd(rate), path, epochs)
    assert history.series("learning_rate") == pytest.approx([0.1, 0.1])


def test_a_learning_rate_that_was_set_in_the_checkpoint_is_not_reported(task, tmp_path):
    path = tmp_path / "run.safetensors"
    like, _ = fit(task, epochs=1, checkpoint=path)
    ts = train.load(path, like=like)
    ts = ts._replace(opt_state=optim.set_learning_rate(ts.opt_state, 0.05))
    train.save(path, ts, metadata=train.load_metadata(path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, history = fit(task, epochs=2, checkpoint=path)
    assert history.series("learning_rate") == [0.1, 0.05]


def test_a_checkpoint_of_the_format_before_resumes(task, tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    ts, history = fit(task, epochs=1, checkpoint=path)
    metadata = {"history": history.dumps(), "cut": "False"}
    monkeypatch.setattr(checkpoint, "_FORMAT", "lucid_fn-1")
    monkeypatch.setattr(
        checkpoint,
        "_checksum",
        lambda arrays, _, plain=checkpoint._checksum: plain(arrays, {}),
    )
    train.save(path, ts, metadata=metadata)
    monkeypatch.undo()
    assert json.loads(train.load_metadata(path)["history"])["epochs"] == history.epochs
    resumed, _ = fit(task, checkpoint=path)
    assert equal(resumed, fit(task)[0])
