"""The product with a matrix of weights refuses what does not fit."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import ops


def test_what_is_no_mlx_array_is_named():
    with pytest.raises(TypeError, match="linear: x must be an MLX array, got ndarray"):
        ops.linear(np.ones((2, 2)), mx.ones((3, 2)))


@pytest.mark.parametrize("shapes", [((2, 3), (4, 2)), ((), (4, 2)), ((2,), (2,))])
def test_sizes_that_differ_are_named(shapes):
    x, weight = map(mx.ones, shapes)
    with pytest.raises(ValueError, match=r"x must have shape \(\.\.\., I\)"):
        ops.linear(x, weight)


def test_a_bias_of_another_size_is_named():
    with pytest.raises(ValueError, match=r"bias must have shape \(3,\), got \(1,\)"):
        ops.linear(mx.ones((2, 2)), mx.ones((3, 2)), mx.ones((1,)))
