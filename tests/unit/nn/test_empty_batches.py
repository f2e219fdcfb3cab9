"""Batches without examples: results and gradients are empty, and the process lives."""

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import nn

GATHERING = {  # MLX's gradient of a gather from nothing ends the process
    "adaptive_avg_pool1d": (nn.adaptive_avg_pool1d(3), (0, 8, 3)),
    "adaptive_avg_pool2d": (nn.adaptive_avg_pool2d(3), (0, 8, 8, 3)),
    "adaptive_max_pool2d": (nn.adaptive_max_pool2d(3), (0, 8, 8, 3)),
    "reflect_pad": (nn.reflect_pad(2), (0, 8, 8, 3)),
    "replicate_pad": (nn.replicate_pad(2), (0, 8, 8, 3)),
    "circular_pad": (nn.circular_pad(2), (0, 8, 8, 3)),
    "upsample_nearest": (nn.upsample_nearest(1.5), (0, 8, 8, 3)),
    "upsample_linear": (nn.upsample_linear(1.5), (0, 8, 8, 3)),
    "global_avg_pool2d": (nn.lift(nn.global_avg_pool2d), (0, 8, 8, 3)),
}


@pytest.mark.parametrize("name", GATHERING)
def test_the_gradient_of_an_empty_batch_is_empty(name):
    layer, shape = GATHERING[name]

    def loss(x):
        return mx.sum(layer.apply({}, {}, x, train=False)[0])

    y, _ = layer.apply({}, {}, mx.zeros(shape), train=False)
    grads = lf.grad(loss)(mx.zeros(shape))
    mx.eval(y, grads)
    assert len(y) == 0
    assert grads.shape == shape
