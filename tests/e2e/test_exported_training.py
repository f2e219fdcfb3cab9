"""Whole training steps in a file."""

import subprocess
import sys

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import losses, metrics, models, ops, optim, random, train, tree
from tests.assertions import assert_close


def made(model, optimizer, images, key):
    ts = train.init(model, optimizer, key)
    x = random.normal(key, images)
    labels = random.randint(key, images[:1], high=10)
    step = train.make_step(
        model,
        optimizer,
        losses.softmax_cross_entropy,
        metrics={"accuracy": metrics.accuracy},
    )
    return step, ts, x, labels


@pytest.fixture
def path(tmp_path):
    return tmp_path / "step.mlxfn"


def plain_steps(step, ts, x, labels, count):
    with ops.plain(), lf.disable_jit():
        for _ in range(count):
            ts, values = step(ts, x, labels)
    return ts, values


def test_the_step_of_lenet_is_the_plain_one_bit_for_bit(path, key):
    optimizer = optim.sgd(0.05, momentum=0.9, weight_decay=1e-3)
    step, ts, x, labels = made(models.lenet5(), optimizer, (8, 28, 28, 1), key)
    lf.export(step, path, ts, x, labels)
    run = lf.load_exported(path)
    got = ts
    for _ in range(3):
        got, values = run(got, x, labels)
    assert type(got) is train.TrainState
    expected = plain_steps(step, ts, x, labels, 3)
    assert tree.equal((got, values), expected).item()


def test_the_step_of_resnet18_is_the_plain_one(path, key):
    optimizer = optim.adamw(1e-3)
    step, ts, x, labels = made(models.cifar_resnet18(), optimizer, (2, 8, 8, 3), key)
    lf.export(step, path, ts, x, labels)
    got = lf.load_exported(path)(ts, x, labels)
    expected = plain_steps(step, ts, x, labels, 1)
    # Adam's first step has the size of the learning rate, whatever the gradient's.
    assert_close(got[0].opt_state, expected[0].opt_state, rtol=1e-3, atol=1e-5)
    assert_close(got[0].state, expected[0].state, rtol=1e-5, atol=1e-6)
    assert_close(got[1], expected[1], rtol=1e-5)


PLAIN_MLX = """
import sys
import mlx.core as mx
step = mx.import_function(sys.argv[1])
*arrays, x, labels = [array for _, array in sorted(mx.load(sys.argv[2]).items())]
for _ in range(20):
    accuracy, loss, *arrays = step(*arrays, x, labels)
    mx.eval(arrays)
    print(loss.item())
assert "lucid_fn" not in sys.modules
"""


def test_plain_mlx_trains_by_a_file(path, key, tmp_path):
    step, ts, x, labels = made(models.lenet5(), optim.adam(1e-3), (8, 28, 28, 1), key)

    def metrics_first(ts, x, labels):
        ts, values = step(ts, x, labels)
        return values, ts

    lf.export(metrics_first, path, ts, x, labels)
    leaves = tree.leaves((ts, x, labels))
    arrays = {f"{i:03}": leaf for i, leaf in enumerate(leaves)}
    mx.savez(str(tmp_path / "arrays.npz"), **arrays)
    command = [sys.executable, "-I", "-c", PLAIN_MLX, path, tmp_path / "arrays.npz"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    losses = list(map(float, done.stdout.split()))
    assert losses[-1] < 0.5 * losses[0]
