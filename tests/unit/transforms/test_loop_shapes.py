"""Entries and outputs of loops: scalars, axes of size 1 and 0, and other layouts."""

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf

SHAPES = [(), (1,), (1, 1), (3,), (2, 3), (0,), (0, 2), (2, 0)]
LENGTHS = [0, 1, 5, 35]


def turn(carry, x):
    return carry + 1.0, (x * carry, carry, x > 0)


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_entries_of_every_shape_come_back_in_their_places(shape, length):
    xs = mx.random.normal((length, *shape), key=mx.random.key(0))
    for run in (lambda fn: fn, lf.jit):
        last, (ys, carries, signs) = run(lambda xs: lf.scan(turn, 0.0, xs))(xs)
        counts = np.arange(length, dtype=np.float32)
        expected = np.array(xs) * counts.reshape(-1, *(1 for _ in shape))
        assert last.item() == length
        assert ys.shape == signs.shape == (length, *shape)
        assert np.array_equal(np.array(ys), expected)
        assert np.array_equal(np.array(signs), np.array(xs) > 0)
        assert np.array_equal(np.array(carries), counts)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("shape", [(), (1,), (2, 3)], ids=str)
def test_gradients_have_the_places_of_their_entries(shape, reverse):
    xs = mx.random.normal((20, *shape), key=mx.random.key(0))

    def product(xs):
        start = mx.ones(shape)
        return mx.sum(
            lf.scan(lambda c, x: (c * (1 + 0.1 * x), c), start, xs, reverse=reverse)[0]
        )

    expected = np.prod(1 + 0.1 * np.array(xs), axis=0) * 0.1 / (1 + 0.1 * np.array(xs))
    for grad in (lf.grad(product), lf.jit(lf.grad(product))):
        assert np.allclose(np.array(grad(xs)), expected, rtol=1e-5)


def test_entries_of_a_transposed_array_are_its_own():
    x = mx.random.normal((4, 30, 3), key=mx.random.key(0))
    _, ys = lf.scan(lambda c, x: (c, x * 1.0), 0, x.swapaxes(0, 1))
    assert np.array_equal(np.array(ys), np.array(x).swapaxes(0, 1))


@pytest.mark.parametrize("shape", [(), (1,), (2, 3)], ids=str)
def test_a_batch_of_loops_stacks_as_each_of_them(shape):
    xs = mx.random.normal((7, 20, *shape), key=mx.random.key(0))

    def run(xs):
        return lf.scan(turn, 0.0, xs)[1][0]

    rows = mx.stack([run(x) for x in xs])
    assert np.allclose(np.array(lf.vmap(run)(xs)), np.array(rows))


ROW = mx.array([1.0, 2.0, 3.0])


def test_a_body_may_read_an_argument_of_the_loop_as_a_global_variable():
    def turn(carry, _):
        return carry + 1, carry * ROW

    last, ys = lf.scan(turn, ROW, None, length=2)
    assert last.tolist() == [3, 4, 5]
    assert ys.tolist() == [[1, 4, 9], [2, 6, 12]]
    assert lf.fori_loop(0, 3, lambda _, c: c * ROW, ROW).tolist() == [1, 16, 81]
    last = lf.while_loop(lambda c: c[0] < 3, lambda c: c + ROW, ROW)
    assert last.tolist() == [3, 6, 9]
