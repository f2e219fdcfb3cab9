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


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("rate", [0.0, 0.5])
@pytest.mark.parametrize("shape", [(0, 3, 8), (2, 0, 8), (0, 0, 8)])
@pytest.mark.parametrize(
    "make", [nn.transformer_encoder_layer, nn.transformer_decoder_layer]
)
def test_the_gradient_of_a_transformer_of_nothing_is_zeros(
    make, shape, rate, norm_first, key
):
    options = {"dim_feedforward": 16, "rate": rate, "norm_first": norm_first}
    layer = make(8, 2, causal=True, **options)
    params, state = layer.init(key)
    is_decoder = make is nn.transformer_decoder_layer

    def loss(params, x):
        inputs = nn.DecoderInputs(x, mx.ones((shape[0], 4, 8))) if is_decoder else x
        y, _ = layer.apply(params, state, inputs, train=True, key=key)
        return mx.sum(y), y

    run = lf.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    for transform in (run, lf.jit(run)):
        (_, y), grads = transform(params, mx.zeros(shape))
        mx.eval(y, grads)
        assert y.shape == grads[1].shape == shape
        assert not any(mx.any(leaf).item() for leaf in lf.tree.leaves(grads))


EXAMPLE_NORMS = [
    nn.layer_norm(8),
    nn.rms_norm(8),
    nn.group_norm(2, 8),
    nn.instance_norm(8, affine=True),
]


@pytest.mark.parametrize("layer", EXAMPLE_NORMS, ids=repr)
def test_the_gradient_of_a_norm_of_nothing_is_zeros(layer, key):
    shape = (0, 5, 8)
    params, state = layer.init(key)

    def loss(params, x):
        return mx.sum(layer.apply(params, state, x, train=True)[0])

    grads = lf.grad(loss, argnums=(0, 1))(params, mx.zeros(shape))
    mx.eval(grads)
    assert grads[1].shape == shape
    assert not any(mx.any(leaf).item() for leaf in lf.tree.leaves(grads[0]))
