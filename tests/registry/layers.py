"""Every layer, with a small input: `init, apply = make()`, `x, = inputs(rng)`."""

from functools import partial

import mlx.core as mx
import numpy as np

from lucid_fn import nn
from tests.registry.case import Case

# Laws that a layer may be exempt from.
EXAMPLES = "a batch is its examples"
EVAL = "eval keeps the state"
SLOPE = "the gradient is the slope"


def normal(*shape):
    return lambda rng: (mx.array(rng.normal(size=shape).astype(np.float32)),)


def apart(*shape):
    """No two values closer than 0.1, so that no step of a slope changes the largest."""
    size = np.prod(shape)
    return lambda rng: (
        mx.array((0.1 * rng.permutation(size)).reshape(shape).astype(np.float32)),
    )


def layer(name, make, inputs, *exempt):
    return Case(name, make, inputs, frozenset(exempt))


SEQUENCE = normal(3, 7, 4)
IMAGE = normal(2, 6, 5, 4)
VOLUME = normal(2, 4, 3, 5, 4)

LAYERS = [
    layer("linear", partial(nn.linear, 4, 3), SEQUENCE),
    layer("linear-no-bias", partial(nn.linear, 4, 3, bias=False), SEQUENCE),
    layer("conv1d", partial(nn.conv1d, 4, 6, 3, stride=2, padding=1), SEQUENCE),
    layer("conv2d", partial(nn.conv2d, 4, 6, (3, 2), padding=(1, 0)), IMAGE),
    layer("conv2d-depthwise", partial(nn.conv2d, 4, 8, 3, groups=4), IMAGE),
    layer("conv2d-dilated", partial(nn.conv2d, 4, 2, 2, dilation=2, stride=2), IMAGE),
    layer("conv3d", partial(nn.conv3d, 4, 3, (2, 1, 3), stride=(2, 1, 2)), VOLUME),
    layer(
        "conv_transpose1d", partial(nn.conv_transpose1d, 4, 3, 3, stride=2), SEQUENCE
    ),
    layer(
        "conv_transpose2d",
        partial(nn.conv_transpose2d, 4, 2, 3, stride=2, padding=1, output_padding=1),
        IMAGE,
    ),
    layer("conv_transpose3d", partial(nn.conv_transpose3d, 4, 2, 2, stride=2), VOLUME),
    layer("batch_norm", partial(nn.batch_norm, 4), IMAGE, EXAMPLES),
    layer(
        "batch_norm-average", partial(nn.batch_norm, 4, momentum=None), IMAGE, EXAMPLES
    ),
    layer(
        "batch_norm-stateless",
        partial(nn.batch_norm, 4, affine=False, track_running_stats=False),
        IMAGE,
        EXAMPLES,
    ),
    layer("frozen", lambda: nn.frozen(nn.batch_norm(4)), IMAGE, SLOPE),
    layer("dropout", partial(nn.dropout, 0.5), IMAGE, EXAMPLES),
    layer("dropout1d", partial(nn.dropout1d, 0.5), SEQUENCE, EXAMPLES),
    layer("dropout2d", partial(nn.dropout2d, 0.5), IMAGE, EXAMPLES),
    layer("dropout3d", partial(nn.dropout3d, 0.5), VOLUME, EXAMPLES),
    layer("drop_path", partial(nn.drop_path, 0.5), IMAGE, EXAMPLES),
    layer("max_pool1d", partial(nn.max_pool1d, 2), apart(3, 7, 4)),
    layer(
        "max_pool2d", partial(nn.max_pool2d, 3, stride=2, padding=1), apart(2, 6, 5, 4)
    ),
    layer("max_pool3d", partial(nn.max_pool3d, 2), apart(2, 4, 3, 5, 4)),
    layer("avg_pool1d", partial(nn.avg_pool1d, 3, stride=1), SEQUENCE),
    layer("avg_pool2d", partial(nn.avg_pool2d, 2, padding=1), IMAGE),
    layer("avg_pool3d", partial(nn.avg_pool3d, 2), VOLUME),
    layer("adaptive_avg_pool1d", partial(nn.adaptive_avg_pool1d, 3), SEQUENCE),
    layer("adaptive_avg_pool2d", partial(nn.adaptive_avg_pool2d, (4, 2)), IMAGE),
    layer("adaptive_max_pool1d", partial(nn.adaptive_max_pool1d, 3), apart(3, 7, 4)),
    layer("adaptive_max_pool2d", partial(nn.adaptive_max_pool2d, 2), apart(2, 6, 5, 4)),
    layer(
        "serial",
        lambda: nn.serial(nn.linear(4, 5), nn.batch_norm(5), nn.tanh, nn.dropout(0.1)),
        normal(6, 4),
        EXAMPLES,
    ),
    layer("residual", lambda: nn.residual(nn.linear(4, 4)), SEQUENCE),
]
