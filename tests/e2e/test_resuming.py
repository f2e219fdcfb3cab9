"""A run that was ended and goes on is, bit for bit, the one that went straight on."""

import json
import signal
import subprocess
import sys
import textwrap

import mlx.core as mx
import pytest

from lucid_fn import train
from tests.e2e.test_examples import run

CLOCKS = ("train_seconds", "test_seconds")


def assert_same_run(a, b, ending):
    """The arrays of two checkpoints, and all that their records say but the time."""
    ours, theirs = (mx.load(str(path / f"run{ending}.safetensors")) for path in (a, b))
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert mx.array_equal(ours[name], theirs[name]).item(), name
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
            "resnet18_cifar10.py", "--epochs", epochs, "--subset", "16", "--augment",
            "--batch-size", "8", "--schedule", "1", "0.5",
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
    import sys
    import numpy as np
    from lucid_fn import data, losses, metrics, nn, optim, random, schedules, train

    rng = np.random.default_rng(0)
    x = rng.normal(size=(48, 6, 6, 1)).astype(np.float32)
    labels = rng.integers(0, 3, 48).astype(np.int32)
    model = nn.serial(
        nn.conv2d(1, 4, 3), nn.batch_norm(4), nn.relu, nn.flatten, nn.dropout(0.5),
        nn.linear(64, 3),
    )
    rate = schedules.per_epoch(schedules.step_decay(0.01, step_size=2, gamma=0.5), 6)
    optimizer = optim.adam(rate)
    step = train.make_step(model, optimizer, losses.softmax_cross_entropy)

    def batches(epoch):
        for i, batch in enumerate(data.batches((x, labels), 8, seed=(0, epoch))):
            if sys.argv[2] == "stop" and (epoch, i) == (2, 3):
                print("half of epoch 2", flush=True)
                sys.stdin.read()  # until the signal has been sent
            yield batch

    train.fit(
        train.init(model, optimizer, random.key(0)), step, batches, epochs=6,
        evaluate=train.make_eval_step(model, losses.softmax_cross_entropy),
        test_batches=data.batches((x, labels), 16), checkpoint=sys.argv[1], show=False,
    )
    """
)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_killed_and_started_again_is_the_same_run(tmp_path, how):
    def command(folder, how):
        folder.mkdir(exist_ok=True)
        path = folder / "run.safetensors"
        return [sys.executable, "-c", PROGRAM, str(path), how]

    straight, killed = tmp_path / "straight", tmp_path / "killed"
    subprocess.run(command(straight, "go on"), check=True)
    stopped = command(killed, "stop")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(stopped, **pipes) as process:
        assert process.stdout.readline() == "half of epoch 2\n"
        process.send_signal(how)
        process.stdin.close()
    record = train.load_metadata(killed / "run.safetensors")["history"]
    assert len(json.loads(record)["epochs"]) == 2
    subprocess.run(command(killed, "go on"), check=True)
    assert_same_run(straight, killed, "")
