"""A run that was ended and goes on is, bit for bit, the one that went straight on."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import train
from tests.e2e.examples import EXAMPLES, run

CLOCKS = ("train_seconds", "test_seconds")
BEST, LOG = "run.safetensors.best.safetensors", "run.safetensors.jsonl"


def assert_same_arrays(a, b):
    ours, theirs = mx.load(str(a)), mx.load(str(b))
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert mx.array_equal(ours[name], theirs[name]).item(), name


def assert_same_run(a, b, ending):
    """The arrays of two checkpoints, and all that their records say but the time."""
    assert_same_arrays(*(path / f"run{ending}.safetensors" for path in (a, b)))
    first, second = (
        json.loads(train.load_metadata(path / f"run{ending}.safetensors")["history"])
        for path in (a, b)
    )
    assert first["batch_losses"] == second["batch_losses"]
    for one, other in zip(first["epochs"], second["epochs"], strict=True):
        for clock in CLOCKS:
            del one[clock], other[clock]
        assert one == other


def test_the_resnet_example_goes_on_where_it_stopped(tmp_path):
    def train_for(epochs, folder):
        folder.mkdir(exist_ok=True)
        return run(
            "resnet18_cifar10.py", "--epochs", epochs, "--subset", "8", "--augment",
            "--batch-size", "4", "--schedule", "1", "0.5",
            "--checkpoint", str(folder / "run.safetensors"),
        )  # fmt: skip

    straight, ended = tmp_path / "straight", tmp_path / "ended"
    train_for("2", straight)
    train_for("1", ended)
    assert "resumed from" in (printed := train_for("2", ended))
    assert "epoch 2/2" in printed and "epoch 1/2" not in printed
    assert_same_run(straight, ended, "_step1_gamma0.5")


PROGRAM = textwrap.dedent(
    """
    import os, sys
    import numpy as np
    from lucid_fn import data, losses, nn, optim, random, schedules, train
    from tests.fusion import unfused

    path, ends_at, signal = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    signal_ = __import__("signal")
    signal_.signal(signal_.SIGINT, signal_.default_int_handler)

    rng = np.random.default_rng(0)
    x = rng.normal(size=(48, 6, 6, 1)).astype(np.float32)
    labels = rng.integers(0, 3, 48).astype(np.int32)
    model = nn.serial(
        nn.conv2d(1, 4, 3), nn.batch_norm(4), nn.relu, nn.flatten, nn.dropout(0.5),
        nn.linear(64, 3),
    )
    rate = schedules.per_epoch(schedules.step_decay(0.01, step_size=9, gamma=0.5), 6)
    optimizer = optim.adam(rate)
    events = 0  # calls and returns of functions

    def count(*_):
        global events
        events += 1
        if events == ends_at:
            os.kill(os.getpid(), signal)

    step = train.make_step(model, optimizer, losses.softmax_cross_entropy)
    ts = train.init(model, optimizer, random.key(0))
    with unfused():
        sys.setprofile(count)
        train.fit(
            ts, step, lambda epoch: data.batches((x, labels), 8, seed=(0, epoch)),
            epochs=30, checkpoint=path, checkpoint_every=4, show=False,
            evaluate=train.make_eval_step(model, losses.softmax_cross_entropy),
            test_batches=data.batches((x, labels), 16),
            on_epoch=[
                lambda ts, record: print(events),
                train.keep_best(path + ".best.safetensors", "train_loss"),
                train.to_jsonl(path + ".jsonl"),
            ],
        )
    """
)


def start(folder, ends_at=0, how=signal.SIGKILL):
    """The run, which ends itself at an event; when which epoch was over."""
    folder.mkdir(exist_ok=True)
    path = folder / "run.safetensors"
    command = [sys.executable, "-c", PROGRAM, str(path), str(ends_at), str(int(how))]
    environment = {**os.environ, "PYTHONPATH": str(EXAMPLES.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode != 1, done.stderr
    return done.returncode, [int(line) for line in done.stdout.split()]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    returned, events = start(folder)
    assert returned == 0 and len(events) == 30
    return folder, events


@pytest.mark.parametrize(("how", "times"), [(signal.SIGKILL, 12), (signal.SIGINT, 4)])
def test_a_run_that_is_ended_anywhere_and_started_again_is_the_same(
    straight, tmp_path, how, times
):
    folder, events = straight
    # From before the first step of a start until two epochs are over.
    first, an_epoch = events[0], (events[10] - events[0]) / 10
    rng = np.random.default_rng(times)
    # One point in each of as many equal parts, in any order.
    parts = rng.permutation(times) + rng.random(times)
    for ends_at in first + an_epoch * (5 * parts / times - 3):
        returned, _ = start(tmp_path, int(ends_at), how)
        assert returned == -how or how == signal.SIGINT
    returned, rest = start(tmp_path)
    assert returned == 0 and len(rest) > 1  # there was something left to do
    assert_same_run(folder, tmp_path, "")
    assert_same_arrays(folder / BEST, tmp_path / BEST)
    lines = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 31))
    names = {"run.safetensors", BEST, LOG}
    assert {entry.name for entry in tmp_path.iterdir()} == names
