"""The small parts: order of evaluation, sums over channels, biases."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn.numerics import channel_sum
from lucid_fn.ops.bias import add_bias
from lucid_fn.ops.custom_derivative import after


def test_after_is_the_identity_with_no_gradient_in_what_it_waits_for():
    x, other = mx.array([2.0]), mx.array([3.0])
    dx, dother = mx.grad(lambda x, o: mx.sum(after(x, o) ** 2), argnums=(0, 1))(
        x, other
    )
    assert (dx.item(), dother.item()) == (4.0, 0.0)


def test_after_can_be_vectorized_over_either_argument():
    x, others = mx.array(2.0), mx.arange(3)
    assert mx.vmap(after, in_axes=(None, 0))(x, others).tolist() == [2.0] * 3
    assert mx.vmap(after, in_axes=(0, None))(others, x).tolist() == [0, 1, 2]


def test_after_keeps_compiled_computations_apart():
    def twice(x: mx.array) -> mx.array:
        return mx.exp(x) + mx.exp(after(x, x))

    assert mx.compile(twice)(mx.zeros((1,))).item() == 2.0


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 10_007])
def test_a_channel_sum_adds_every_row(rows):
    x = mx.arange(3 * rows).reshape(rows, 1, 3) % 5
    found = channel_sum(x.astype(mx.float32))
    assert found.tolist() == np.array(x).sum(axis=(0, 1)).tolist()


def test_a_channel_sum_of_two_million_values_keeps_six_digits():
    x = mx.random.uniform(shape=(1 << 21, 1), key=mx.random.key(0))
    exact = np.array(x, np.float64).sum()
    np.testing.assert_allclose(channel_sum(x).item(), exact, rtol=1e-6)


def test_the_gradient_of_a_bias_in_half_precision_does_not_saturate():
    y, bias = mx.zeros((2, 64, 64, 3), mx.bfloat16), mx.zeros((3,), mx.bfloat16)
    grad = mx.grad(lambda bias: mx.sum(add_bias(y, bias).astype(mx.float32)))(bias)
    assert grad.tolist() == [8192.0] * 3
