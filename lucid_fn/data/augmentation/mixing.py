"""Mixup and CutMix."""

import mlx.core as mx

from lucid_fn import random
from lucid_fn.checks import check_count, check_number
from lucid_fn.data.augmentation.checks import check_images, in_float32, to_dtype
from lucid_fn.data.augmentation.rectangles import Rectangles
from lucid_fn.numerics import is_valid_label
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key


def mixup(
    key: Key, images: Array, labels: Array, *, num_classes: int, alpha: float = 1.0
) -> tuple[Array, Array]:
    """Mixup: blend each image with the previous one of the batch, and their labels.

    Computes `weight * image + (1 - weight) * previous`, where
    `weight ~ Beta(alpha, alpha)` is drawn for each image, and the same mixture of the
    one-hot labels. In shuffled batches the previous image is a random one.

    Args:
        key: a key.
        images: any dtype, shape `(N, H, W, C)`.
        labels: integers in `[0, num_classes)`, shape `(N,)`; a label out of range gives
            NaN targets.
        num_classes: number of classes.
        alpha: parameter of the beta distribution, positive; a small one gives weights
            near 0 and 1.

    Returns:
        `(images, targets)`: an array like `images`, and float32 probabilities of shape
        `(N, num_classes)`, for `losses.soft_target_cross_entropy`.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if the shapes do not fit, or a number is out of range.

    Source: Zhang et al., 2017, https://arxiv.org/abs/1710.09412, equation 1.
    torchvision's `MixUp` has the same formula and draws one weight per batch.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import data, random
        >>> images, labels = mx.ones((2, 4, 4, 1)), mx.array([0, 1])
        >>> mixed, targets = data.mixup(random.key(0), images, labels, num_classes=2)
        >>> mx.allclose(targets.sum(axis=1), mx.ones(2)).item()
        True
    """
    n = check_images("mixup", key, images)[0]
    one_hot, alpha = _checked("mixup", n, labels, num_classes, alpha)
    weight = random.beta(key, alpha, alpha, (n, 1))
    pixels = _blend(in_float32(images), weight[..., None, None])
    return started((to_dtype(pixels, images.dtype), _blend(one_hot, weight)))


def cutmix(
    key: Key, images: Array, labels: Array, *, num_classes: int, alpha: float = 1.0
) -> tuple[Array, Array]:
    """CutMix: paste a rectangle of the previous image of the batch into each image.

    The rectangle has the image's aspect ratio and a fraction `1 - weight` of its area,
    where `weight ~ Beta(alpha, alpha)` is drawn for each image. All pixels are equally
    likely to be its center; it is clipped at the edges. The labels are mixed in
    proportion to the area that is covered.

    Args:
        key: as in `mixup`.
        images: as in `mixup`.
        labels: as in `mixup`.
        num_classes: as in `mixup`.
        alpha: as in `mixup`.

    Returns:
        `(images, targets)`, as `mixup`.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if the shapes do not fit, or a number is out of range.

    Source: Yun et al., 2019, https://arxiv.org/abs/1905.04899, section 3.1 and
    algorithm A1. torchvision's `CutMix` has the same formula and draws one rectangle
    per batch.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import data, random
        >>> images, labels = mx.ones((2, 4, 4, 1)), mx.array([0, 1])
        >>> mixed, targets = data.cutmix(random.key(0), images, labels, num_classes=2)
        >>> mx.allclose(targets.sum(axis=1), mx.ones(2)).item()
        True
    """
    n, height, width, _ = check_images("cutmix", key, images)
    one_hot, alpha = _checked("cutmix", n, labels, num_classes, alpha)
    weight_key, y_key, x_key = random.split(key, 3)
    weight = random.beta(weight_key, alpha, alpha, (n, 1))
    y = random.randint(y_key, (n, 1), high=height)
    x = random.randint(x_key, (n, 1), high=width)
    box = rectangles_around(y, x, weight, height, width)
    mixed = mx.where(box.masks(height, width), _previous(images), images)
    covered = box.height * box.width / (height * width)
    return started((mixed, _blend(one_hot, 1 - covered)))


def _blend(x: Array, weight: Array) -> Array:
    """Blend each example with the previous one, which has the weight `1 - weight`."""
    return weight * x + (1 - weight) * _previous(x)


def _previous(x: Array) -> Array:
    """Roll the batch by one: each example's predecessor, the last for the first.

    `mx.roll` would do, but `mx.compile` raises an IndexError for two rolls of an array.
    """
    return mx.concatenate([x[-1:], x[:-1]])


def rectangles_around(
    y: Array, x: Array, weight: Array, height: int, width: int
) -> Rectangles:
    """Rectangles centered on pixels that leave a fraction `weight` uncovered."""
    half = 0.5 * mx.sqrt(1 - weight)
    rows, columns = ((half * side).astype(mx.int32) for side in (height, width))
    top, left = mx.maximum(y - rows, 0), mx.maximum(x - columns, 0)
    bottom, right = mx.minimum(y + rows, height), mx.minimum(x + columns, width)
    return Rectangles(top, left, bottom - top, right - left)


def _checked(
    caller: str, n: int, labels: Array, num_classes: int, alpha: float
) -> tuple[Array, float]:
    """One-hot labels, NaN where a label is out of range, and `alpha`."""
    num_classes = check_count(caller, "num_classes", num_classes, at_least=1)
    alpha = check_number(caller, "alpha", alpha, above=0)
    if not isinstance(labels, mx.array) or not mx.issubdtype(labels.dtype, mx.integer):
        got = labels.dtype if isinstance(labels, mx.array) else type(labels).__name__
        raise TypeError(f"{caller}: labels must be an array of integers, got {got}")
    if labels.shape != (n,):
        raise ValueError(
            f"{caller}: labels must have shape ({n},), one for each image, got "
            f"{labels.shape}"
        )
    one_hot = (labels[:, None] == mx.arange(num_classes)).astype(mx.float32)
    valid = is_valid_label(labels, num_classes)[:, None]
    return mx.where(valid, one_hot, mx.nan), alpha
