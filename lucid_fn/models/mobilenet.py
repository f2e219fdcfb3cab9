"""MobileNetV2, with the names and the initialization of torchvision.

Sandler et al., 2018, "MobileNetV2: inverted residuals and linear bottlenecks",
https://arxiv.org/abs/1801.04381, table 2.
"""

from typing import Any

from lucid_fn import nn
from lucid_fn.checks import check_number
from lucid_fn.models.resnet import conv
from lucid_fn.nn import initializers
from lucid_fn.nn.core.checks import check_positive, check_rate
from lucid_fn.types import Array, ArrayFn

# Table 2: expansion, channels, number of blocks, and stride of the first block.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def mobilenet_v2(
    num_classes: int = 1000, *, width: float = 1.0, rate: float = 0.2
) -> nn.Layer:
    """MobileNetV2: images `(N, H, W, 3)` to logits `(N, num_classes)`.

    Inverted residual blocks: a 1x1 convolution to more channels, a depthwise 3x3
    convolution, and a 1x1 convolution back without an activation. With 1000 classes it
    has 3,504,872 parameters.

    Args:
        num_classes: number of classes, at least 1.
        width: multiplier of all numbers of channels, which are rounded to multiples of
            8; in (0, 100].
        rate: probability of dropping a feature before the classifier, in [0, 1).

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if an argument is out of range.

    Source: Sandler et al., 2018, https://arxiv.org/abs/1801.04381, table 2.

    Example:
        >>> from lucid_fn import models, random, tree
        >>> params, state = models.mobilenet_v2().init(random.key(0))
        >>> tree.size(params)
        3504872
    """
    (num_classes,) = check_positive("mobilenet_v2", num_classes=num_classes)
    width = check_number("mobilenet_v2", "width", width, above=0, at_most=100)
    rate = check_rate("mobilenet_v2", rate)
    channels = _round_channels(32 * width)
    blocks = [_conv_norm_act(3, channels, 3, stride=2)]
    for expansion, out, count, first_stride in _STAGES:
        out = _round_channels(out * width)
        for stride in [first_stride] + [1] * (count - 1):
            blocks.append(
                _inverted_residual(channels, out, stride=stride, expansion=expansion)
            )
            channels = out
    features = _round_channels(1280 * max(1.0, width))
    blocks.append(_conv_norm_act(channels, features, 1))
    classifier = nn.linear(
        features,
        num_classes,
        weight_init=initializers.normal(0.01),
        bias_init=initializers.zeros,
    )
    return nn.serial(
        features=nn.serial(*blocks),
        avgpool=nn.global_avg_pool2d,  # (N, features)
        classifier=nn.serial(nn.dropout(rate), classifier),
    )


def _round_channels(channels: float) -> int:
    """The nearest multiple of 8 that is at least `0.9 * channels`."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def _conv_norm_act(
    channels: int, out: int, kernel_size: int, *, stride: int = 1, groups: int = 1
) -> nn.Layer:
    return nn.serial(
        conv(channels, out, kernel_size, stride=stride, groups=groups),
        nn.batch_norm(out),
        nn.relu6,
    )


def _inverted_residual(
    channels: int, out: int, *, stride: int, expansion: int
) -> nn.Layer:
    """Figure 4d: `(N, H, W, channels)` to `(N, H/stride, W/stride, out)`."""
    hidden = channels * expansion
    layers = [
        _conv_norm_act(hidden, hidden, 3, stride=stride, groups=hidden),
        conv(hidden, out, 1),
        nn.batch_norm(out),
    ]
    if expansion != 1:
        layers.insert(0, _conv_norm_act(channels, hidden, 1))
    adds = stride == 1 and channels == out

    def forward(x: Array, conv: ArrayFn) -> Any:
        return x + conv(x) if adds else conv(x)

    return nn.compose(forward, examplewise=True, conv=nn.serial(*layers))
