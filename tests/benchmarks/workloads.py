"""What is trained: sizes that all peers share."""

from typing import NamedTuple

import numpy as np


class Workload(NamedTuple):
    """A model, its input without the batch axis (channels last), and its batch."""

    model: str
    shape: tuple[int, ...]
    batch_size: int
    steps: int  # steps in one turn of a peer
    optimizer: str  # of all peers: SGD 0.01 with momentum 0.9, or Adam 1e-3
    loop: bool = False  # whether a step is an epoch of the whole loop, with evaluation


WORKLOADS = {
    "lenet-64": Workload("lenet", (28, 28, 1), 64, 50, "sgd"),
    "lenet-loop": Workload("lenet", (28, 28, 1), 64, 1, "sgd", loop=True),
    "lenet-128": Workload("lenet", (28, 28, 1), 128, 30, "sgd"),
    "mlp-128": Workload("mlp", (784,), 128, 50, "adam"),
    "transformer-16": Workload("transformer", (64, 256), 16, 7, "adam"),
    "resnet18-128": Workload("resnet18", (32, 32, 3), 128, 2, "adam"),
}

WEIGHT_DECAY = 5e-4  # of Adam, coupled
MLP_WIDTH = 512
HEADS, FEED_FORWARD = 8, 1024
TRAINING, TESTING, TEST_BATCH = 60_000, 10_000, 1_000  # images of an epoch, as in MNIST


def batch(workload: Workload, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise, and a class below 10 for each example."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(size, *workload.shape)).astype(np.float32)
    return x, rng.integers(0, 10, size).astype(np.int32)
