"""Groups of real processes on this machine, on ports of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lucid_fn.distributed import Group
from lucid_fn.distributed.launch import reserve_port
from tests.e2e import group_worker

ROOT = Path(__file__).parents[2]
LAUNCH = [sys.executable, "-m", "lucid_fn", "launch"]


def found_by(workers: int) -> list[dict]:
    """What the processes print, by rank."""
    script = str(Path(__file__).with_name("group_worker.py"))
    command = [*LAUNCH, "-n", str(workers), script]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr + done.stdout
    lines = [
        x.partition("found ")[2] for x in done.stdout.splitlines() if "found " in x
    ]
    printed = [x for x in done.stdout.splitlines() if "epoch" in x and "found" not in x]
    assert all(line.startswith("[0] epoch") for line in printed) and len(printed) == 2
    return sorted(map(json.loads, lines), key=lambda found: found["rank"])


@pytest.fixture(scope="module")
def pair():
    return found_by(2)


@pytest.fixture(scope="module")
def three():
    return found_by(3)


@pytest.fixture(scope="module")
def alone():
    return group_worker.plain(group_worker.training(Group(0, 1)))


BOTH = [[1.0, 2.0], [2.0, 4.0]]  # what rank 0 and rank 1 give
SUM = {  # what both have
    "all_sum": {"a": [3.0, 6.0], "b": 2},
    "all_mean": [1.5, 3.0],
    "all_gather": BOTH,
    "gather scalars": [0, 1],
    "gather nothing": [2, 0, 2],
    "broadcast": [2.0, 4.0],
    # The losses are 1 and 2 times |x0 + x1|^2, in all 3 |x0 + x1|^2.
    "grad of all_sum": [18.0, 36.0],
    "grad in jit": [18.0, 36.0],
    "grads evaluated in another order": [[18.0, 36.0], [180.0, 360.0]],
    "grad of grad": [12.0, 12.0],
    "vmap": [[3.0, 6.0], [6.0, 12.0]],
    "vmap of grad": [[18.0, 36.0], [36.0, 72.0]],
    "grad of vmap": [[18.0, 36.0], [36.0, 72.0]],
    "grad of checkpoint": [18.0, 36.0],
    "grad of checkpoint in jit": [18.0, 36.0],
    "two sums in jit": [[3.0, 6.0], [30.0, 60.0]],
    "two sums in another order": [2, 20],
}


@pytest.mark.parametrize("name", SUM)
def test_a_collective_is_right_on_both_ranks(pair, name):
    for found in pair:
        assert found["collectives"][name] == SUM[name]


def test_derivatives_that_differ_by_rank_are_right(pair):
    zero, one = (found["collectives"] for found in pair)
    assert zero["grad of all_gather"] == [9.0, 36.0]  # 3 x 3 x0^2
    assert one["grad of all_gather"] == [36.0, 144.0]
    assert zero["grad of broadcast"] == [0.0, 0.0]
    assert one["grad of broadcast"] == [8.0, 16.0]  # of both losses
    assert (zero["jvp"], one["jvp"]) == (36.0, 72.0)
    assert np.shape(zero["vmap of all_gather"]) == (2, 2, 2)


@pytest.mark.parametrize(
    "case, words",
    [
        ("shapes", "an array (2,) float32 on rank 0 and all_sum of an array (3,)"),
        (
            "dtypes in jit",
            "float32 on rank 0 and all_sum of an array (2,) float16",
        ),
        ("order in jit", "(1,) float32 on rank 0 and all_sum of an array (2,)"),
        ("kinds", "must do the same, got all_sum on rank 0 and all_gather on rank 1"),
        ("in vmap in jit", "an array (2,) float32 on rank 0 and all_sum of an array"),
        ("names", "average of weight (2,) float32 on rank 0 and average of bias"),
    ],
)
def test_ranks_that_do_not_do_the_same_are_told_so_before_it_runs(pair, case, words):
    for found in pair:
        assert words in found["mismatches"][case]


@pytest.mark.parametrize("group", ["pair", "three"])
def test_a_group_trains_as_one_process_on_the_whole_batch(group, alone, request):
    for found in request.getfixturevalue(group):
        ours = found["training"]
        np.testing.assert_allclose(ours["losses"], alone["losses"], atol=2e-6)
        assert len(ours["epochs"]) == 2
        for record, expected in zip(ours["epochs"], alone["epochs"], strict=True):
            assert record == pytest.approx(expected, abs=2e-5)
        for part in ("params", "state"):
            for path, leaf in alone[part].items():
                np.testing.assert_allclose(ours[part][path], leaf, atol=2e-4)


@pytest.mark.parametrize("group", ["pair", "three"])
def test_all_ranks_end_with_the_same_bits(group, request):
    first, *others = request.getfixturevalue(group)
    for other in others:
        for part in ("params", "state", "losses", "epochs"):
            assert other["training"][part] == first["training"][part]
        assert other["kept"] == first["kept"]


def test_callbacks_run_on_rank_0_and_decide_for_all(pair):
    assert [found["training"]["called"] for found in pair] == [2, 0]


def test_each_rank_drops_values_of_its_own(pair, three):
    assert {*pair[0]["kept"]} == {0, 1, 2}
    assert {*three[0]["kept"]} == {0, 1, 2, 3}


def test_metrics_are_weighted_by_examples_whatever_their_type(pair):
    """Rank 0 has 1 example with a count of 1, and rank 1 has 2 with a count of 2."""
    for found in pair:
        assert found["counted"] == pytest.approx([5 / 3, 2 / 3, 3.0])


def test_a_group_that_another_launcher_started_finds_itself(tmp_path):
    """As `mlx.launch` does it: a rank and a hosts file, and nothing else."""
    code = (
        "from lucid_fn import distributed as d; group = d.init(); d.barrier(group); "
        "print(group.rank, group.size, group.watchdog is not None)"
    )
    with reserve_port() as first, reserve_port() as second:
        ports = [held.getsockname()[1] for held in (first, second)]
        hosts = tmp_path / "hosts.json"
        hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in ports]))
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", code],
                env={**os.environ, "MLX_RANK": str(rank), "MLX_HOSTFILE": str(hosts)},
                stdout=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        printed = [process.communicate()[0] for process in processes]
    assert printed == ["0 2 True\n", "1 2 True\n"]
    assert [process.returncode for process in processes] == [0, 0]
