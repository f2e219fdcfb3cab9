"""Rules that every step and every callback of `train` keeps."""

import json

import mlx.core as mx
import numpy as np

from lucid_fn import data, train, tree
from tests.registry.case import over
from tests.registry.train import CALLBACKS, STEPS, TRAINS
from tests.strategies import equal


@over(STEPS)
def test_a_step_is_a_function_of_its_arguments_which_it_leaves_alone(case):
    step, *arguments = case.make()
    before = [np.array(leaf) for leaf in tree.leaves(arguments)]
    assert equal(step(*arguments), step(*arguments))
    after = [np.array(leaf) for leaf in tree.leaves(arguments)]
    assert all(map(np.array_equal, before, after))


@over(STEPS, law=TRAINS)
def test_a_step_keeps_the_structure_shapes_and_dtypes_of_the_state(case):
    step, ts, x, targets = case.make()
    after, _ = step(ts, x, targets)
    kinds = [[(x.shape, x.dtype) for x in tree.leaves(state)] for state in (ts, after)]
    assert kinds[0] == kinds[1]
    assert repr(tree.flatten(ts)[1]) == repr(tree.flatten(after)[1])
    assert after.step.item() > ts.step.item()
    assert mx.array_equal(after.key, ts.key).item()
    assert not equal(after.params, ts.params)
    assert not equal(after.state, ts.state)


@over(STEPS)
def test_the_metrics_of_a_step_are_the_loss_and_what_was_asked_for(case):
    step, ts, x, targets = case.make()
    found = step(ts, x, targets)
    metrics = found[1] if TRAINS not in case.exempt else found
    assert metrics.keys() == {"loss", "accuracy"}
    assert all(np.isfinite(np.array(value)).all() for value in metrics.values())


@over(STEPS)
def test_numpy_arrays_are_taken_as_those_of_mlx(case):
    step, ts, x, targets = case.make()
    assert equal(step(ts, np.array(x), np.array(targets)), step(ts, x, targets))


def outcome(folder):
    """What a callback wrote, but for the times that epochs took."""
    lines = {
        path.name: [
            {k: v for k, v in json.loads(line).items() if not k.endswith("_seconds")}
            for line in path.read_text().splitlines()
        ]
        for path in folder.glob("*.jsonl")
    }
    return lines, {path.name: path.read_bytes() for path in folder.glob("*.safetens*")}


def trained(folder, case, lengths):
    """A run of as many epochs as the last of `lengths`, resumed after each other one.

    With the folder of its checkpoint, its state and what its callback wrote.
    """
    folder.mkdir()
    (folder / "written").mkdir()
    step, ts, x, targets = STEPS[0].make()
    for epochs in lengths:
        end, history = train.fit(
            ts,
            step,
            lambda epoch: data.batches((x, targets), 5, seed=(0, epoch)),
            epochs=epochs,
            checkpoint=folder / "run.safetensors",
            on_epoch=case.make(folder / "written") if case else None,
            show=False,
        )
    return end, len(history.epochs), outcome(folder / "written")


@over(CALLBACKS)
def test_a_resumed_run_ends_and_writes_as_the_whole_one(case, tmp_path):
    whole = trained(tmp_path / "whole", case, [5])
    resumed = trained(tmp_path / "resumed", case, [1, 2, 5])
    assert equal(whole[0], resumed[0])
    assert whole[1:] == resumed[1:]


@over(CALLBACKS)
def test_a_callback_changes_no_number_of_a_run(case, tmp_path):
    with_it, epochs, _ = trained(tmp_path / "with", case, [5])
    without, *_ = trained(tmp_path / "without", None, [epochs])
    assert equal(with_it, without)
