"""The models, as a user of this library writes them."""

import functools
from itertools import pairwise

import mlx.core as mx

from lucid_fn import models, nn
from tests.benchmarks import workloads


def mlp() -> nn.Layer:
    width = workloads.MLP_WIDTH
    return nn.serial(
        fc1=nn.linear(784, width),
        act1=nn.relu,
        fc2=nn.linear(width, width),
        act2=nn.relu,
        fc3=nn.linear(width, 10),
    )


def autoencoder() -> nn.Layer:
    layers = []
    for width, following in pairwise(workloads.AUTOENCODER):
        layers += [nn.linear(width, following), nn.relu]
    return nn.serial(*layers[:-1])


def transformer() -> nn.Layer:
    """One pre-norm encoder block, the mean over the positions, and a classifier."""
    block = nn.transformer_encoder_layer(
        256,
        workloads.HEADS,
        dim_feedforward=workloads.FEED_FORWARD,
        rate=0.0,
        norm_first=True,
    )
    return nn.serial(
        block=block, mean=lambda x: mx.mean(x, axis=1), head=nn.linear(256, 10)
    )


def blocks(sizes: workloads.Transformer, *, causal: bool) -> list[nn.Layer]:
    return [
        nn.transformer_encoder_layer(
            sizes.width,
            sizes.heads,
            dim_feedforward=4 * sizes.width,
            rate=0.0,
            activation=nn.gelu,
            norm_first=True,
            causal=causal,
        )
        for _ in range(sizes.depth)
    ]


def vit(sizes: workloads.Transformer = workloads.VIT) -> nn.Layer:
    patch = workloads.VIT_PATCH
    return nn.serial(
        nn.conv2d(3, sizes.width, patch, stride=patch),
        lambda x: mx.flatten(x, 1, 2),
        nn.learned_positions(sizes.context, sizes.width),
        *blocks(sizes, causal=False),
        nn.layer_norm(sizes.width),
        lambda x: mx.mean(x, axis=1),
        nn.linear(sizes.width, 10),
    )


def gpt(sizes: workloads.Transformer = workloads.GPT) -> nn.Layer:
    return nn.serial(
        nn.embedding(sizes.vocabulary, sizes.width),
        nn.learned_positions(sizes.context, sizes.width),
        *blocks(sizes, causal=True),
        nn.layer_norm(sizes.width),
        nn.linear(sizes.width, sizes.vocabulary),
    )


def lm_head() -> nn.Layer:
    words, width = workloads.WORKLOADS["lm-head"].vocabulary, workloads.LM_WIDTH
    return nn.serial(
        nn.embedding(words, width), nn.layer_norm(width), nn.linear(width, words)
    )


def conv_norm(channels: int, width: int, kernel: int, **options: int) -> list[nn.Layer]:
    conv = nn.conv2d(channels, width, kernel, bias=False, **options)
    return [conv, nn.batch_norm(width)]


def mobilenet() -> nn.Layer:
    def block(channels: int, inner: int, width: int, stride: int) -> nn.Layer:
        body = nn.serial(
            *conv_norm(channels, inner, 1),
            nn.relu6,
            *conv_norm(inner, inner, 3, stride=stride, padding=1, groups=inner),
            nn.relu6,
            *conv_norm(inner, width, 1),
        )
        return nn.residual(body) if stride == 1 and channels == width else body

    plan, last = workloads.mobilenet_blocks(), workloads.MOBILENET_LAST
    return nn.serial(
        *conv_norm(3, 32, 3, padding=1),
        nn.relu6,
        *[block(*sizes) for sizes in plan],
        *conv_norm(plan[-1][2], last, 1),
        nn.relu6,
        nn.global_avg_pool2d,
        nn.linear(last, 10),
    )


def resnet18_own() -> nn.Layer:
    """ResNet-18 for CIFAR-10 without `lucid_fn.models`."""

    def forward(x, conv1, bn1, conv2, bn2, downsample):
        y = nn.relu(bn1(conv1(x)))
        return nn.relu(bn2(conv2(y)) + downsample(x))

    def block(channels: int, width: int, stride: int) -> nn.Layer:
        conv1, bn1 = conv_norm(channels, width, 3, stride=stride, padding=1)
        conv2, bn2 = conv_norm(width, width, 3, padding=1)
        same = stride == 1 and channels == width
        return nn.compose(
            forward,
            examplewise=True,
            conv1=conv1,
            bn1=bn1,
            conv2=conv2,
            bn2=bn2,
            downsample=nn.identity
            if same
            else nn.serial(*conv_norm(channels, width, 1, stride=stride)),
        )

    widths = (64, 64, 128, 256, 512)
    return nn.serial(
        *conv_norm(3, 64, 3, padding=1),
        nn.relu,
        *[
            layer
            for channels, width in pairwise(widths)
            for layer in (
                block(channels, width, 1 if width == 64 else 2),
                block(width, width, 1),
            )
        ],
        nn.global_avg_pool2d,
        nn.linear(512, 10),
    )


def unet() -> nn.Layer:
    def double(channels: int, width: int) -> nn.Layer:
        return nn.serial(
            *conv_norm(channels, width, 3, padding=1),
            nn.relu,
            *conv_norm(width, width, 3, padding=1),
            nn.relu,
        )

    def forward(x, pool, head, **layers):
        skips = []
        for i in range(3):
            x = layers[f"down{i}"](x)
            skips.append(x)
            x = pool(x)
        x = layers["down3"](x)
        for i in (2, 1, 0):
            up = layers[f"up{i}"](x)
            x = layers[f"join{i}"](mx.concatenate([up, skips[i]], axis=-1))
        return head(x)

    widths = workloads.UNET_WIDTHS
    down = {f"down{i}": double(*widths[i : i + 2]) for i in range(4)}
    up = {
        f"up{i}": nn.conv_transpose2d(widths[i + 2], widths[i + 1], 2, stride=2)
        for i in range(3)
    }
    join = {f"join{i}": double(widths[i + 2], widths[i + 1]) for i in range(3)}
    head = nn.conv2d(widths[1], 2, 1)
    return nn.compose(forward, pool=nn.max_pool2d(2), head=head, **down, **up, **join)


def recurrent(layer) -> nn.Layer:
    width, depth = workloads.RECURRENT_WIDTH, workloads.RECURRENT_LAYERS
    (_, features) = workloads.WORKLOADS["lstm"].shape
    return nn.serial(
        layer(features, width, num_layers=depth),
        lambda carried: carried[0][:, -1],
        nn.linear(width, 10),
    )


def tcn() -> nn.Layer:
    width = workloads.TCN_WIDTH
    dilated = [
        nn.residual(
            nn.serial(nn.conv1d(width, width, 3, padding=d, dilation=d), nn.relu)
        )
        for d in workloads.TCN_DILATIONS
    ]
    return nn.serial(
        nn.conv1d(1, width, 9, padding=4),
        *dilated,
        nn.global_avg_pool1d,
        nn.linear(width, 10),
    )


def conv3d() -> nn.Layer:
    layers = []
    for channels, width in pairwise(workloads.CONV3D_WIDTHS):
        layers += [nn.conv3d(channels, width, 3, padding=1), nn.relu]
        layers += [nn.max_pool3d(2)]
    return nn.serial(*layers[:-1], nn.global_avg_pool3d, nn.linear(width, 10))


MODELS = {
    "lenet": models.lenet5,
    "mlp": mlp,
    "autoencoder": autoencoder,
    "transformer": transformer,
    "vit": vit,
    "vit-12": functools.partial(vit, workloads.VIT._replace(depth=12)),
    "gpt": gpt,
    "lm-head": lm_head,
    "mobilenet": mobilenet,
    "unet": unet,
    "resnet18-own": resnet18_own,
    "resnet18": models.cifar_resnet18,
    "resnet18-224": models.resnet18,
    "resnet50-224": models.resnet50,
    "lstm": functools.partial(recurrent, nn.lstm),
    "gru": functools.partial(recurrent, nn.gru),
    "tcn": tcn,
    "conv3d": conv3d,
}
