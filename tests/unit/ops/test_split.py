"""Parts of an array, with derivatives that MLX can compile beside another pass."""

import mlx.core as mx
import numpy as np

import lucid_fn as lf
from lucid_fn.ops.concatenation import split, split_evenly


def test_the_parts_are_those_of_mlx():
    x = mx.arange(24.0).reshape(2, 12)
    for ours, theirs in zip(split(x, [3, 4, 5]), mx.split(x, [3, 7], -1), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len(split_evenly(x, 2, axis=0)) == 2


def test_derivatives_of_both_modes_and_of_vmap():
    x = mx.arange(12.0).reshape(2, 6)

    def product(x):
        a, b, c = split_evenly(x, 3)
        return mx.sum(a * b - c * c)

    row = mx.array([2.0, 3.0, 0.0, 1.0, -8.0, -10.0])
    np.testing.assert_array_equal(lf.grad(product)(x[0]), row)
    np.testing.assert_array_equal(lf.vmap(lf.grad(product))(x)[0], row)
    _, slope = lf.jvp(product, (x[0],), (mx.ones(6),))
    assert slope.item() == row.sum().item()
    assert lf.hvp(product, (x[0],), (mx.ones(6),))[0].tolist() == [1, 1, 1, 1, -2, -2]
