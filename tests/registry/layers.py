"""Every layer, with a small input: `init, apply = make()`, `x, = inputs(rng)`."""

from functools import partial

from lucid_fn import nn, ops, random
from tests.registry.activations import ACTIVATIONS, OF_INTEGERS_TOO
from tests.registry.layer_case import (
    COUNT,
    DRAWN,
    EXAMPLES,
    IMAGE,
    PROMOTED,
    REAL,
    SEQUENCE,
    SLOPE,
    VOLUME,
    apart,
    layer,
    normal,
    pooled,
)
from tests.registry.sequence_layers import SEQUENCE_LAYERS


def noisy(x, a, *, train, key):
    """Adds noise to what a child returns, as the code of a VAE has it."""
    y = a(x)
    return y + random.normal(key, y.shape, dtype=y.dtype) if train else y


LAYERS = [
    layer("linear", partial(nn.linear, 4, 3), SEQUENCE),
    layer("linear-no-bias", partial(nn.linear, 4, 3, bias=False), SEQUENCE),
    layer("conv1d", partial(nn.conv1d, 4, 6, 3, stride=2, padding=1), SEQUENCE),
    layer("conv2d", partial(nn.conv2d, 4, 6, (3, 2), padding=(1, 0)), IMAGE),
    layer(
        "conv2d-same",
        partial(nn.conv2d, 4, 3, (2, 3), padding="same", padding_mode="reflect"),
        IMAGE,
    ),
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
    layer(
        "batch_norm", partial(nn.batch_norm, 4), IMAGE, EXAMPLES, momentum="in [0, 1]"
    ),
    layer(
        "batch_norm-average", partial(nn.batch_norm, 4, momentum=None), IMAGE, EXAMPLES
    ),
    layer(
        "batch_norm-stateless",
        partial(nn.batch_norm, 4, affine=False, track_running_stats=False),
        IMAGE,
        EXAMPLES,
        COUNT,  # it looks at the batch in eval mode, too
    ),
    layer(
        "batch_norm-no-bias",
        partial(nn.batch_norm, 4, bias=False),
        IMAGE,
        EXAMPLES,
    ),
    layer(
        "batch_renorm",
        partial(nn.batch_renorm, 4),
        IMAGE,
        EXAMPLES,
        SLOPE,
        momentum="in [0, 1]",
    ),
    layer("frozen", lambda: nn.frozen(nn.batch_norm(4)), IMAGE, SLOPE),
    layer(
        "freeze_batch_norm",
        lambda: nn.freeze_batch_norm(nn.serial(nn.linear(4, 3), nn.batch_norm(3))),
        IMAGE,
    ),
    layer("dropout", partial(nn.dropout, 0.5), IMAGE, EXAMPLES),
    layer("dropout1d", partial(nn.dropout1d, 0.5), SEQUENCE, EXAMPLES),
    layer("dropout2d", partial(nn.dropout2d, 0.5), IMAGE, EXAMPLES),
    layer("dropout3d", partial(nn.dropout3d, 0.5), VOLUME, EXAMPLES),
    layer("drop_path", partial(nn.drop_path, 0.5), IMAGE, EXAMPLES),
    layer("max_pool1d", partial(nn.max_pool1d, 2), apart(3, 7, 4), REAL),
    layer(
        "max_pool2d",
        partial(nn.max_pool2d, 3, stride=2, padding=1),
        apart(2, 6, 5, 4),
        REAL,
    ),
    layer(
        "max_pool2d-dilated",
        partial(nn.max_pool2d, 2, stride=2, dilation=2, padding=1, ceil_mode=True),
        apart(2, 6, 5, 4),
        REAL,
    ),
    layer("max_pool3d", partial(nn.max_pool3d, 2), apart(2, 4, 3, 5, 4), REAL),
    layer(
        "max_pool2d-indices",
        partial(nn.max_pool2d, 3, stride=2, padding=1, return_indices=True),
        apart(2, 6, 5, 4),
        REAL,
    ),
    layer("max_unpool1d", partial(nn.max_unpool1d, 2), pooled(ops.max_pool1d, 3, 7, 4)),
    layer(
        "max_unpool2d",
        partial(nn.max_unpool2d, 2, output_size=(6, 5)),
        pooled(ops.max_pool2d, 2, 6, 5, 4),
    ),
    layer(
        "max_unpool3d",
        partial(nn.max_unpool3d, 2, output_size=(4, 3, 5)),
        pooled(ops.max_pool3d, 2, 4, 3, 5, 4),
    ),
    layer("avg_pool1d", partial(nn.avg_pool1d, 3, stride=1), SEQUENCE),
    layer("avg_pool2d", partial(nn.avg_pool2d, 2, padding=1), IMAGE),
    layer("avg_pool3d", partial(nn.avg_pool3d, 2), VOLUME),
    layer(
        "avg_pool2d-ceil",
        partial(nn.avg_pool2d, 3, stride=2, padding=1, ceil_mode=True),
        IMAGE,
    ),
    layer("lp_pool1d", partial(nn.lp_pool1d, 2, 3, ceil_mode=True), SEQUENCE),
    layer("lp_pool2d", partial(nn.lp_pool2d, 2, 2), IMAGE),
    layer("lp_pool3d", partial(nn.lp_pool3d, 4, 2), VOLUME),
    layer("adaptive_avg_pool1d", partial(nn.adaptive_avg_pool1d, 3), SEQUENCE),
    layer("adaptive_avg_pool2d", partial(nn.adaptive_avg_pool2d, (4, 2)), IMAGE),
    layer("adaptive_max_pool1d", partial(nn.adaptive_max_pool1d, 3), apart(3, 7, 4)),
    layer("adaptive_max_pool2d", partial(nn.adaptive_max_pool2d, 2), apart(2, 6, 5, 4)),
    layer("adaptive_avg_pool3d", partial(nn.adaptive_avg_pool3d, (2, 3, 2)), VOLUME),
    layer(
        "adaptive_max_pool3d",
        partial(nn.adaptive_max_pool3d, (3, 2, 4)),
        apart(2, 4, 3, 5, 4),
    ),
    layer("global_avg_pool1d", lambda: nn.lift(nn.global_avg_pool1d), SEQUENCE),
    layer("global_avg_pool2d", lambda: nn.lift(nn.global_avg_pool2d), IMAGE),
    layer("global_avg_pool3d", lambda: nn.lift(nn.global_avg_pool3d), VOLUME),
    layer("global_max_pool1d", lambda: nn.lift(nn.global_max_pool1d), apart(3, 7, 4)),
    layer(
        "global_max_pool2d", lambda: nn.lift(nn.global_max_pool2d), apart(2, 6, 5, 4)
    ),
    layer(
        "global_max_pool3d",
        lambda: nn.lift(nn.global_max_pool3d),
        apart(2, 4, 3, 5, 4),
    ),
    layer("flatten", lambda: nn.lift(nn.flatten), IMAGE, REAL),
    layer("identity", lambda: nn.lift(nn.identity), IMAGE, REAL),
    layer("alpha_dropout", partial(nn.alpha_dropout, 0.3), IMAGE, EXAMPLES),
    layer(
        "feature_alpha_dropout",
        partial(nn.feature_alpha_dropout, 0.3),
        SEQUENCE,
        EXAMPLES,
    ),
    layer(
        "constant_pad", partial(nn.constant_pad, (1, (0, 2)), value=0.5), IMAGE, REAL
    ),
    layer("reflect_pad", partial(nn.reflect_pad, 2), VOLUME, REAL),
    layer("replicate_pad", partial(nn.replicate_pad, (2, 0)), IMAGE, REAL),
    layer("circular_pad", partial(nn.circular_pad, 3), SEQUENCE, REAL),
    layer("pixel_shuffle", partial(nn.pixel_shuffle, 2), IMAGE, REAL),
    layer("pixel_unshuffle", partial(nn.pixel_unshuffle, 2), normal(2, 4, 6, 3), REAL),
    layer("channel_shuffle", partial(nn.channel_shuffle, 2), IMAGE, REAL),
    layer("unflatten", partial(nn.unflatten, 2, 2), SEQUENCE, REAL),
    layer(
        "local_response_norm",
        partial(nn.local_response_norm, 3),
        IMAGE,
        size="at least 1",
        alpha="finite",
        beta="finite",
    ),
    layer(
        "bilinear",
        partial(nn.bilinear, 4, 5, 3),
        lambda rng: ((normal(3, 4)(rng)[0], normal(3, 5)(rng)[0]),),
    ),
    layer(
        "serial",
        lambda: nn.serial(nn.linear(4, 5), nn.batch_norm(5), nn.tanh, nn.dropout(0.1)),
        normal(6, 4),
        EXAMPLES,
    ),
    layer("residual", lambda: nn.residual(nn.linear(4, 4)), SEQUENCE),
    layer("layer_norm", partial(nn.layer_norm, 4), SEQUENCE),
    layer("layer_norm-2d", partial(nn.layer_norm, (5, 4), bias=False), IMAGE, DRAWN),
    layer("rms_norm", partial(nn.rms_norm, 4), SEQUENCE),
    layer("group_norm", partial(nn.group_norm, 2, 4), IMAGE),
    layer("group_norm-no-bias", partial(nn.group_norm, 2, 4, bias=False), IMAGE),
    layer(
        "instance_norm",
        partial(nn.instance_norm, 4, affine=True),
        SEQUENCE,
        momentum="in [0, 1]",
    ),
    layer(
        "instance_norm-tracked",
        partial(nn.instance_norm, 4, affine=True, bias=False, track_running_stats=True),
        IMAGE,
    ),
    layer(
        "upsample_nearest",
        partial(nn.upsample_nearest, (2, 1.5)),
        IMAGE,
        REAL,
        scale="a positive number",
    ),
    layer(
        "upsample_linear",
        partial(nn.upsample_linear, 2),
        IMAGE,
        scale="a positive number",
    ),
    layer(
        "upsample_cubic",
        partial(nn.upsample_cubic, size=(9, 4)),
        IMAGE,
        scale="a positive number",
    ),
    layer("prelu", partial(nn.prelu, 4), apart(3, 7, 4)),
    layer(
        "rrelu", nn.rrelu, apart(3, 7, 4), EXAMPLES, upper="at least 0.125 and finite"
    ),
    layer("scan", lambda: nn.scan(nn.gru_cell(4, 3), reverse=True), SEQUENCE),
    layer(
        "compose-train-key",
        partial(nn.compose, noisy, a=nn.linear(4, 3)),
        SEQUENCE,
        EXAMPLES,
    ),
    layer("repeat", lambda: nn.repeat(nn.linear(4, 4), 3), SEQUENCE),
    layer(
        "parallel",
        lambda: nn.parallel(a=nn.linear(4, 2), b=nn.tanh),
        SEQUENCE,
        PROMOTED,  # one of the two results meets no params
    ),
    layer(
        "checkpointed",
        lambda: nn.checkpointed(nn.serial(nn.linear(4, 4), nn.batch_norm(4), nn.tanh)),
        SEQUENCE,
        EXAMPLES,
    ),
    layer("spectral_norm", lambda: nn.spectral_norm(nn.conv2d(4, 3, 2)), IMAGE, SLOPE),
    layer(
        "lora",
        lambda: nn.lora(nn.linear(4, 3), lambda path: True),
        SEQUENCE,
        DRAWN,  # one of the two matrices begins with zeros
        SLOPE,
    ),
    layer("weight_norm", lambda: nn.weight_norm(nn.conv2d(4, 3, 2)), IMAGE),
    layer(
        "tap", lambda: nn.tap(nn.serial(a=nn.linear(4, 2), b=nn.tanh), "a"), SEQUENCE
    ),
    *[
        layer(
            function.__name__,
            partial(nn.lift, function),
            apart(3, 7, 4),
            *([REAL] if function in OF_INTEGERS_TOO else []),
        )
        for function in ACTIVATIONS
    ],
    *SEQUENCE_LAYERS,
]

NO_CASES = {
    "alibi_bias": "makes an array, see test_positions",
    "update_batch_norm": "a function of a state, see test_trained_batch_norm",
    "dot_product_attention": "a function of several arrays, see test_attention",
    "dot_product_attention_weights": "a function of arrays, see test_attention",
    "fold_batch_norm": "a function of params, see test_trained_batch_norm",
    "merge_lora": "a function of params, see test_lora",
    "quantize": "a function of params, see test_quantize",
    "lift": "makes the cases of plain functions",
    "mixed_precision": "has dtypes of its own, see test_mixed_precision",
    "parametric": "what linear and the others are made with",
    "column_parallel_linear": "linear without a group, see test_sharded_groups",
    "row_parallel_linear": "linear without a group, see test_sharded_groups",
    "shard_params": "a function of params, see test_sharded_groups",
    "unshard_params": "a function of params, see test_sharded_groups",
    "rotary_positions": "a function of arrays, see test_positions",
    "sinusoidal_positions": "makes an array, see test_positions",
    "summary": "describes a layer, see test_summary",
}
"""Public functions that make no layer, and why."""
