"""LeNet-5.

LeCun et al., 1998, "Gradient-based learning applied to document recognition",
https://doi.org/10.1109/5.726791, figure 2, in the form that is common today: without
padding, with all channels connected in the second convolution, and with logits for a
softmax.
"""

from lucid_fn import nn
from lucid_fn.nn.core.checks import check_positive


def lenet5(num_classes: int = 10) -> nn.Layer:
    """LeNet-5: images `(N, 28, 28, 1)` to logits `(N, num_classes)`.

    It has 44,426 parameters with 10 classes.

    Args:
        num_classes: number of classes, at least 1.

    Raises:
        TypeError: if `num_classes` is not an integer.
        ValueError: if `num_classes` is below 1.

    Source: LeCun et al., 1998, https://doi.org/10.1109/5.726791, figure 2.

    Example:
        >>> from lucid_fn import models, random, tree
        >>> params, state = models.lenet5().init(random.key(0))
        >>> tree.size(params)
        44426
    """
    check_positive("lenet5", num_classes=num_classes)
    return nn.serial(
        conv1=nn.conv2d(1, 6, 5),  # (N, 24, 24, 6)
        act1=nn.tanh,
        pool1=nn.avg_pool2d(2),  # (N, 12, 12, 6)
        conv2=nn.conv2d(6, 16, 5),  # (N, 8, 8, 16)
        act2=nn.tanh,
        pool2=nn.avg_pool2d(2),  # (N, 4, 4, 16)
        flatten=nn.flatten,  # (N, 256)
        fc1=nn.linear(256, 120),
        act3=nn.tanh,
        fc2=nn.linear(120, 84),
        act4=nn.tanh,
        fc3=nn.linear(84, num_classes),
    )
