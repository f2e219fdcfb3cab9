"""Optimizer states and layers that are divided among real processes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lucid_fn.distributed import Group
from tests.e2e import sharded_worker

ROOT = Path(__file__).parents[2]


def found_by(workers: int, checkpoint: Path) -> list[dict]:
    """What the processes print, by rank; they go on from the checkpoint."""
    script = str(Path(__file__).with_name("sharded_worker.py"))
    command = [sys.executable, "-m", "lucid_fn", "launch", "-n", str(workers), script]
    done = subprocess.run(
        [*command, str(checkpoint)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr + done.stdout
    lines = [
        x.partition("found ")[2] for x in done.stdout.splitlines() if "found " in x
    ]
    return sorted(map(json.loads, lines), key=lambda found: found["rank"])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tmp_path_factory.mktemp("run") / "run.safetensors"


@pytest.fixture(scope="module")
def pair(checkpoint):
    """Two processes: two epochs."""
    found = found_by(2, checkpoint)
    shutil.copy(checkpoint, checkpoint.with_name("of_two.safetensors"))
    return found


@pytest.fixture(scope="module")
def four(pair, checkpoint):
    """Four processes, which add two epochs."""
    return found_by(4, checkpoint)


GROUPS = pytest.mark.parametrize("group", ["pair", "four"])


@GROUPS
def test_a_divided_optimizer_is_itself_to_the_last_bit_or_refused(group, request):
    for found in request.getfixturevalue(group):
        assert len(found["optimizers"]) == len(sharded_worker.SOME)
        for name, equal in found["optimizers"].items():
            if name == "prodigy":  # keeps numbers of all params together
                assert "must keep a separate state for each param" in equal
            else:
                assert equal == [True] * 3, name


@GROUPS
def test_each_rank_keeps_its_part_of_the_state_only(group, request):
    ranks = request.getfixturevalue(group)
    common = 8  # bytes of the count and of the learning rate, which all have
    parts = [found["kept bytes"][0] - common for found in ranks]
    whole = ranks[0]["kept bytes"][1] - common
    assert sum(parts) == whole
    assert max(parts) < 1.25 * whole / len(ranks)


@GROUPS
def test_fit_divides_the_state_without_a_difference(group, request):
    for found in request.getfixturevalue(group):
        assert found["training"]["equal"] and found["training"]["loaded"]


def alone(epochs, checkpoint=None):
    ts, history = sharded_worker.fit(
        Group(0, 1), sharded_worker.random.key(0), epochs=epochs, checkpoint=checkpoint
    )
    return history.batch_losses, ts


def assert_is_run_of_one(training, losses, ts):
    named = sharded_worker.tree.named_leaves
    np.testing.assert_allclose(training["losses"], losses, atol=2e-6)
    for part in ("params", "opt_state"):
        expected = named(getattr(ts, part))
        assert training[part].keys() == expected.keys()
        for path, leaf in expected.items():
            np.testing.assert_allclose(training[part][path], leaf, atol=2e-5)


def test_a_run_on_two_and_then_on_four_processes_is_that_of_one(pair, four):
    assert_is_run_of_one(pair[0]["training"], *alone(2))
    for found in four:
        assert_is_run_of_one(found["training"], *alone(4))


def test_one_process_goes_on_from_the_checkpoint_of_two(pair, checkpoint):
    resumed, ts = alone(3, checkpoint.with_name("of_two.safetensors"))
    losses, expected = alone(3)
    np.testing.assert_allclose(resumed, losses, atol=2e-6)
    plain = sharded_worker.plain(sharded_worker.tree.named_leaves(ts.params))
    training = {"losses": resumed, "params": plain}
    training["opt_state"] = sharded_worker.tree.named_leaves(ts.opt_state)
    assert_is_run_of_one(training, losses, expected)


@pytest.mark.parametrize(
    "case, words",
    [
        ("save", "train.save: opt_state must be whole, got this rank's shard of a"),
        ("average", "averaged_params: opt_state must be whole, got this rank's shard"),
        ("group of one", "unshard_state: group must be that of zero_redundancy, got"),
        ("an array", "zero_redundancy: params must be a tree such as a dict"),
        ("other params", "give train.init the same key on all ranks"),
    ],
)
def test_a_part_of_a_state_is_not_taken_for_the_whole(pair, case, words):
    for found in pair:
        assert words in found["misused"][case]


@pytest.mark.parametrize(
    "group, model", [("four", "encoder"), *(("pair", m) for m in sharded_worker.MODELS)]
)
def test_a_divided_model_computes_and_learns_as_one_process(group, model, request):
    for found in request.getfixturevalue(group):
        for case, distance in found[model].items():
            exact = case in ("init", "there and back")
            assert distance <= (0 if exact else 5e-6), case
