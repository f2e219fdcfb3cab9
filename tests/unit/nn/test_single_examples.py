"""An input without a batch axis is an error that says so."""

import mlx.core as mx
import pytest

from lucid_fn import losses, nn, ops

LAYERS = {
    "max_pool1d": (nn.max_pool1d(2), (6, 3)),
    "avg_pool2d": (nn.avg_pool2d(2), (6, 6, 3)),
    "lp_pool3d": (nn.lp_pool3d(2, 2), (6, 6, 6, 3)),
    "adaptive_avg_pool1d": (nn.adaptive_avg_pool1d(2), (6, 3)),
    "adaptive_avg_pool2d": (nn.adaptive_avg_pool2d(2), (6, 6, 3)),
    "adaptive_max_pool3d": (nn.adaptive_max_pool3d(2), (6, 6, 6, 3)),
    "global_avg_pool2d": (nn.lift(nn.global_avg_pool2d), (6, 6, 3)),
    "conv2d": (nn.conv2d(3, 4, 3), (6, 6, 3)),
    "dropout2d": (nn.dropout2d(0.5), (6, 6, 3)),
    "upsample_linear": (nn.upsample_linear(2), (6, 6, 3)),
    "pixel_shuffle": (nn.pixel_shuffle(2), (6, 6, 4)),
    "gru": (nn.gru(4, 3), (6, 4)),
    "unfold": (nn.lift(lambda x: ops.unfold(x, 2)), (6, 6, 3)),
    "fold": (nn.lift(lambda x: ops.fold(x, 6, 2)), (25, 12)),
    "ops.conv2d": (
        nn.lift(lambda x: ops.conv2d(x, mx.ones((4, 3, 3, 3)))),
        (6, 6, 3),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_single_example_is_told_to_take_a_batch_axis(name, key):
    layer, shape = LAYERS[name]
    message = r"x must have shape .*; a single example needs a batch axis: x\[None\]"
    with pytest.raises(ValueError, match=message):
        layer.apply(*layer.init(key), mx.ones(shape), train=True, key=key)
    layer.apply(*layer.init(key), mx.ones(shape)[None], train=True, key=key)


def test_the_batch_axis_is_that_of_the_argument(key):
    x = mx.ones((5, 2, 4))
    with pytest.raises(ValueError, match=r"a batch axis: query\[None\]"):
        ops.dot_product_attention(x, x, x)
    with pytest.raises(ValueError, match=r"a batch axis: query\[None\]"):
        layer = nn.multi_head_attention(4, 2)
        layer.apply(*layer.init(key), mx.ones((5, 4)), train=False)
    lengths = {"logit_lengths": mx.array([6]), "label_lengths": mx.array([2])}
    with pytest.raises(ValueError, match=r"a batch axis: logits\[None\]"):
        losses.ctc(mx.ones((6, 5)), mx.array([1, 2]), **lengths)


def test_two_axes_too_few_are_something_else():
    with pytest.raises(ValueError, match=r"got \(6, 3\)$"):
        ops.max_pool2d(mx.ones((6, 3)), 2)
