"""Recurrent layers beside each other, in chunks of the sequence."""

import functools

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import nn, ops, random, tree
from lucid_fn.cpu.parallel import wavefront
from lucid_fn.ops import seam

pytestmark = pytest.mark.tuned("runs layers beside each other")

LENGTHS = mx.array([0, 3, 4, 7, 9, 10, -1, 11])  # the last two are out of range
STACKS = {
    "layers": functools.partial(nn.lstm, num_layers=2),
    "four layers": functools.partial(nn.rnn, num_layers=4),
    "projected": functools.partial(nn.lstm, num_layers=2, proj_size=2),
    "dropout": functools.partial(nn.rnn, num_layers=2, rate=0.5),
    "directions": functools.partial(nn.gru, bidirectional=True),
}
stacks = pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS)


@pytest.fixture
def beside(monkeypatch):
    """Two cores, and chunks of few steps."""
    for name in ("available", "count"):
        monkeypatch.setattr(wavefront, name, lambda: 2)
    monkeypatch.setattr(wavefront, "_MIN_MULTIPLICATIONS", 0)
    monkeypatch.setattr(wavefront, "_MIN_STEPS", 3)


def outputs_and_grads(layer, params, state, x, lengths):
    def apply(params, x):
        inputs = nn.RecurrentInputs(x, lengths=lengths)
        y, _ = layer.apply(params, state, inputs, train=True, key=random.key(1))
        return y

    def loss(params, x):
        y, carry = apply(params, x)
        known = mx.where(mx.isnan(y), 0.0, y)  # a length out of range gives NaN
        return mx.sum(mx.sin(known)) + sum(map(mx.sum, tree.leaves(carry)))

    return apply(params, x), mx.grad(loss, (0, 1))(params, x)


@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@stacks
def test_layers_beside_each_other_are_layers_one_after_the_other(
    beside, stack, lengths
):
    layer = stack(3, 4)
    params, state = layer.init(random.key(0))
    x = random.normal(random.key(2), (8, 10, 3))
    with ops.plain():
        expected = outputs_and_grads(layer, params, state, x, lengths)
    found = outputs_and_grads(layer, params, state, x, lengths)
    for a, b in zip(tree.leaves(found), tree.leaves(expected), strict=True):
        assert mx.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True).item()


def test_layers_beside_each_other_can_be_compiled_and_mapped(beside):
    layer = nn.lstm(3, 4, num_layers=2)
    params, state = layer.init(random.key(0))
    x = random.normal(random.key(2), (3, 6, 3))

    def grad(x):
        return outputs_and_grads(layer, params, state, x, None)[1][1]

    for fn in (lf.jit(grad), lambda x: mx.vmap(grad)(x[None])[0]):
        assert mx.allclose(fn(x), grad(x), rtol=1e-4, atol=1e-5).item()


@pytest.mark.parametrize(
    ("cores", "length", "layers", "directions", "multiplications", "expected"),
    [
        (2, 10, 2, 1, 1 << 20, [3, 3, 4]),
        (2, 5, 2, 1, 1 << 20, None),  # too short
        (2, 10, 3, 1, 1 << 20, None),  # one core would have twice the work
        (4, 10, 2, 1, 1 << 20, None),
        (1, 10, 2, 1, 1 << 20, None),
        (2, 10, 2, 1, 1 << 24, None),  # better in parts of the batch
        (2, 10, 2, 1, 1 << 19, None),
        (2, 10, 3, 2, 1 << 20, [10]),  # the directions, each over the whole sequence
        (4, 10, 2, 2, 1 << 20, None),
    ],
)
def test_layers_run_beside_each_other_where_that_pays(
    monkeypatch, cores, length, layers, directions, multiplications, expected
):
    for name in ("available", "count"):
        monkeypatch.setattr(wavefront, name, lambda: cores)
    monkeypatch.setattr(wavefront, "_MIN_STEPS", 3)
    found = seam.chunks_of_sequence(length, layers, directions, multiplications)
    assert found == expected
    with seam.computing_part(0):  # of a batch that is divided already
        assert seam.chunks_of_sequence(10, 2, 1, 1 << 20) is None
