"""ResNets, with the names and the initialization of torchvision.

He et al., 2015, "Deep residual learning for image recognition",
https://arxiv.org/abs/1512.03385, table 1.
"""

from collections.abc import Callable
from typing import Any

from lucid_fn import nn
from lucid_fn.nn.core.checks import check_positive
from lucid_fn.types import Array, ArrayFn

Block = Callable[..., nn.Layer]


def conv(
    in_channels: int,
    channels: int,
    kernel_size: int,
    *,
    stride: int = 1,
    groups: int = 1,
) -> nn.Layer:
    """A convolution with "same" padding and without a bias, for a batch norm after it.

    Weights are normal with mean 0 and standard deviation `sqrt(2 / fan_out)`.
    """
    return nn.conv2d(
        in_channels,
        channels,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        groups=groups,
        bias=False,
        weight_init=nn.initializers.normal_fan_out,
    )


def _shortcut(in_channels: int, channels: int, stride: int) -> nn.Layer | ArrayFn:
    """The identity if the shape does not change, otherwise a projection."""
    if stride == 1 and in_channels == channels:
        return nn.identity
    return nn.serial(
        conv(in_channels, channels, 1, stride=stride), nn.batch_norm(channels)
    )


def basic_block(in_channels: int, width: int, *, stride: int = 1) -> nn.Layer:
    """Figure 5, left: `(N, H, W, in_channels)` to `(N, H/stride, W/stride, width)`."""

    def forward(
        x: Array,
        conv1: ArrayFn,
        bn1: ArrayFn,
        conv2: ArrayFn,
        bn2: ArrayFn,
        downsample: ArrayFn,
    ) -> Any:
        y = nn.relu(bn1(conv1(x)))
        y = bn2(conv2(y))
        return nn.relu(y + downsample(x))

    return nn.compose(
        forward,
        examplewise=True,
        conv1=conv(in_channels, width, 3, stride=stride),
        bn1=nn.batch_norm(width),
        conv2=conv(width, width, 3),
        bn2=nn.batch_norm(width),
        downsample=_shortcut(in_channels, width, stride),
    )


def bottleneck(in_channels: int, width: int, *, stride: int = 1) -> nn.Layer:
    """Figure 5, right: `(N, H, W, C)` to `(N, H/stride, W/stride, 4 * width)`.

    The 3x3 convolution has the stride, as in torchvision ("ResNet v1.5").
    """

    def forward(
        x: Array,
        conv1: ArrayFn,
        bn1: ArrayFn,
        conv2: ArrayFn,
        bn2: ArrayFn,
        conv3: ArrayFn,
        bn3: ArrayFn,
        downsample: ArrayFn,
    ) -> Any:
        y = nn.relu(bn1(conv1(x)))
        y = nn.relu(bn2(conv2(y)))
        y = bn3(conv3(y))
        return nn.relu(y + downsample(x))

    return nn.compose(
        forward,
        examplewise=True,
        conv1=conv(in_channels, width, 1),
        bn1=nn.batch_norm(width),
        conv2=conv(width, width, 3, stride=stride),
        bn2=nn.batch_norm(width),
        conv3=conv(width, 4 * width, 1),
        bn3=nn.batch_norm(4 * width),
        downsample=_shortcut(in_channels, 4 * width, stride),
    )


def _stage(
    block: Block, in_channels: int, width: int, blocks: int, *, stride: int
) -> nn.Layer:
    """Blocks of the same width, of which the first has the stride."""
    channels = 4 * width if block is bottleneck else width
    first = block(in_channels, width, stride=stride)
    return nn.serial(first, *[block(channels, width) for _ in range(blocks - 1)])


def _resnet(
    block: Block,
    blocks: tuple[int, int, int, int],
    num_classes: int,
    caller: str,
    replaced: dict[str, nn.Layer | ArrayFn],
) -> nn.Layer:
    """The stem, four stages of widths 64 to 512, and the classifier.

    The layers in `replaced` replace the children of the same names.
    """
    expansion = 4 if block is bottleneck else 1
    children: dict[str, nn.Layer | ArrayFn] = {
        "conv1": conv(3, 64, 7, stride=2),
        "bn1": nn.batch_norm(64),
        "relu": nn.relu,
        "maxpool": nn.max_pool2d(3, stride=2, padding=1),
        "layer1": _stage(block, 64, 64, blocks[0], stride=1),
        "layer2": _stage(block, 64 * expansion, 128, blocks[1], stride=2),
        "layer3": _stage(block, 128 * expansion, 256, blocks[2], stride=2),
        "layer4": _stage(block, 256 * expansion, 512, blocks[3], stride=2),
        "avgpool": nn.global_avg_pool2d,
    }
    check_positive(caller, num_classes=num_classes)
    children["fc"] = nn.linear(512 * expansion, num_classes)
    unknown = [name for name in replaced if name not in children]
    if unknown:
        fix = "load torchvision's weights with interop.torch.from_state_dict"
        if "in_channels" in unknown:
            fix = (
                "for other channels replace the first layer, as in "
                "conv1=nn.conv2d(1, 64, 7, stride=2, padding=3, bias=False)"
            )
        raise TypeError(
            f"{caller}: children must be named {', '.join(children)}, got "
            f"{', '.join(unknown)}; {fix}"
        )
    return nn.serial(**{**children, **replaced})


def resnet18(num_classes: int = 1000, **children: nn.Layer | ArrayFn) -> nn.Layer:
    """ResNet-18: images `(N, H, W, 3)` to logits `(N, num_classes)`.

    It has 11,689,512 parameters with 1000 classes.

    Args:
        num_classes: number of classes, at least 1.
        children: layers or functions on arrays that replace the children `conv1`,
            `bn1`, `relu`, `maxpool`, `layer1` to `layer4`, `avgpool` or `fc`.

    Raises:
        TypeError: if `num_classes` is not an integer, or a child has another name.
        ValueError: if `num_classes` is below 1.

    Source: He et al., 2015, https://arxiv.org/abs/1512.03385, table 1.

    Example:
        >>> from lucid_fn import models, nn, random, tree
        >>> params, state = models.resnet18().init(random.key(0))
        >>> tree.size(params)
        11689512
        >>> without_pooling = models.resnet18(10, maxpool=nn.identity)
    """
    return _resnet(basic_block, (2, 2, 2, 2), num_classes, "resnet18", children)


def resnet34(num_classes: int = 1000, **children: nn.Layer | ArrayFn) -> nn.Layer:
    """ResNet-34: images `(N, H, W, 3)` to logits `(N, num_classes)`.

    It has 21,797,672 parameters with 1000 classes.

    Args:
        num_classes: number of classes, at least 1.
        children: as in `resnet18`.

    Source: He et al., 2015, https://arxiv.org/abs/1512.03385, table 1.

    Example:
        >>> from lucid_fn import models, random, tree
        >>> params, state = models.resnet34().init(random.key(0))
        >>> tree.size(params)
        21797672
    """
    return _resnet(basic_block, (3, 4, 6, 3), num_classes, "resnet34", children)


def resnet50(num_classes: int = 1000, **children: nn.Layer | ArrayFn) -> nn.Layer:
    """ResNet-50: images `(N, H, W, 3)` to logits `(N, num_classes)`.

    It has 25,557,032 parameters with 1000 classes.

    Args:
        num_classes: number of classes, at least 1.
        children: as in `resnet18`.

    Source: He et al., 2015, https://arxiv.org/abs/1512.03385, table 1.

    Example:
        >>> from lucid_fn import models, random, tree
        >>> params, state = models.resnet50().init(random.key(0))
        >>> tree.size(params)
        25557032
    """
    return _resnet(bottleneck, (3, 4, 6, 3), num_classes, "resnet50", children)


def cifar_resnet18(num_classes: int = 10, **children: nn.Layer | ArrayFn) -> nn.Layer:
    """ResNet-18 for small images `(N, 32, 32, 3)`, to logits `(N, num_classes)`.

    The stem is a 3x3 convolution of stride 1 without a max pool. It has 11,173,962
    parameters with 10 classes.

    Args:
        num_classes: number of classes, at least 1.
        children: as in `resnet18`.

    Source: He et al., 2015, https://arxiv.org/abs/1512.03385, table 1.

    Example:
        >>> from lucid_fn import models, random, tree
        >>> params, state = models.cifar_resnet18().init(random.key(0))
        >>> tree.size(params)
        11173962
    """
    stem: dict[str, nn.Layer | ArrayFn] = {
        "conv1": conv(3, 64, 3),
        "maxpool": nn.identity,
    }
    return _resnet(
        basic_block, (2, 2, 2, 2), num_classes, "cifar_resnet18", {**stem, **children}
    )
