"""The thread in which bodies of loops are called inside other transformations."""

import subprocess
import sys
import threading

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn.transforms.untraced import untraced

PROGRAM = """
import mlx.core as mx
import lucid_fn as lf
from lucid_fn import nn, random, tree

layer = nn.gru(4, 6)
params, state = layer.init(random.key(0))


def loss(params, x):
    def turn(i, total):
        return total + layer.apply(params, state, x, train=True)[0][0].sum()

    return lf.fori_loop(0, 2, turn, 0.0)


def norm(x):
    return sum((g**2).sum() for g in tree.leaves(lf.grad(loss)(params, x)))


print(lf.grad(norm)(mx.ones((2, 5, 4))).sum().item())
"""


def test_a_program_with_loops_inside_gradients_ends_well():
    for _ in range(3):  # it aborted in half of the runs, while Python shut down
        run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True)
        assert run.returncode == 0, run.stderr


def test_errors_of_the_call_are_raised_in_the_asking_thread():
    def fails():
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        untraced(fails)
    assert untraced(lambda x: x + 1, 1) == 2


def test_the_thread_ends_with_the_one_that_it_belongs_to():
    before = set(threading.enumerate())
    helpers = []

    def work():
        total = lf.grad(lambda x: lf.fori_loop(0, 3, lambda i, c: c * x, 1.0))
        assert total(mx.array(2.0)).item() == 12
        new = set(threading.enumerate()) - before
        helpers.extend(other for other in new if other.name == "lucid_fn")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(helpers) == 1
    helpers[0].join(60)
    assert not helpers[0].is_alive()
