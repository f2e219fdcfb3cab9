"""The data set of the loaders, and the transform of its items, in NumPy."""

import numpy as np

from tests.benchmarks.workloads import CIFAR

WORKERS = 2
_MARGIN = 4
_MEAN, _STD = np.float32(0.47), np.float32(0.25)


class Images:
    """Images in memory, with labels."""

    def __init__(self, count: int) -> None:
        rng = np.random.default_rng(0)
        self.images = rng.integers(0, 256, (count, *CIFAR), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return self.images[index], index % 10


def augment(
    item: tuple[np.ndarray, int], rng: np.random.Generator
) -> tuple[np.ndarray, int]:
    """A random crop of the padded image, flipped or not, normalized."""
    image, label = item
    side = image.shape[0]
    padded = np.pad(image, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)))
    top, left = rng.integers(0, 2 * _MARGIN + 1, 2)
    image = padded[top : top + side, left : left + side]
    if rng.random() < 0.5:
        image = image[:, ::-1]
    return (image / np.float32(255) - _MEAN) / _STD, label
