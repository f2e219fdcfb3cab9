"""Every augmentation: `make()(key, *inputs(rng))` gives images of the same shape."""

from functools import partial

import mlx.core as mx

from lucid_fn import data
from tests.registry.case import Case


def images(rng):
    return (mx.array(rng.integers(0, 256, (6, 8, 7, 3), dtype="uint8")),)


# Laws that an augmentation may be exempt from.
DIFFERENT = "equal images become different ones"


def mixed(mix):
    """The images that `mixup` or `cutmix` returns, for labels that fit."""

    def augment(key, images):
        count = len(images) if isinstance(images, mx.array) else 2
        return mix(key, images, mx.arange(count) % 3, num_classes=3)[0]

    return lambda: augment


AUGMENTATIONS = [
    Case(
        "color_jitter",
        lambda: partial(data.color_jitter, brightness=0.5, hue=0.2),
        images,
    ),
    Case("cutmix", mixed(data.cutmix), images, frozenset([DIFFERENT])),
    Case("mixup", mixed(data.mixup), images, frozenset([DIFFERENT])),
    Case("random_erasing", lambda: data.random_erasing, images),
    Case(
        "random_resized_crop",
        lambda: partial(data.random_resized_crop, size=(8, 7)),
        images,
    ),
    Case(
        "cutout",
        lambda: partial(data.cutout, size=3),
        images,
        ranges={"size": "at least 1"},
    ),
    Case(
        "random_crop",
        lambda: partial(data.random_crop, padding=2),
        images,
        ranges={"padding": "at least 0"},
    ),
    Case("random_flip", lambda: data.random_flip, images),
]

NO_CASES = {
    "batches": "an iterable, see test_batches_laws",
    "load_cifar10": "reads files, see test_cifar10",
    "load_cifar100": "reads files, see test_cifar100",
    "load_emnist": "reads files, see test_emnist",
    "load_fashion_mnist": "reads files, see test_relatives_of_mnist",
    "load_kmnist": "reads files, see test_relatives_of_mnist",
    "load_mnist": "reads files, see test_mnist",
    "loader": "an iterable, see test_loading",
    "normalize": "draws nothing, see test_normalization",
    "prefetch": "an iterable, see test_prefetching",
}
"""Public functions that are no augmentation, and why."""
