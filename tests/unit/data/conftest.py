"""Small data sets in the layouts of the real ones."""

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

MNIST_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def idx(array: np.ndarray) -> bytes:
    """The IDX file of an array of unsigned bytes."""
    header = struct.pack(">HBB", 0, 8, array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture(scope="session")
def to_idx() -> Callable[[np.ndarray], bytes]:
    return idx


@pytest.fixture
def mnist_folder(tmp_path: Path) -> Path:
    """Seven training and three test images in MNIST's layout, plain."""
    rng = np.random.default_rng(0)
    for (images, labels), n in zip(
        (MNIST_NAMES[:2], MNIST_NAMES[2:]), (7, 3), strict=True
    ):
        pixels = rng.integers(256, size=(n, 28, 28), dtype=np.uint8)
        (tmp_path / images).write_bytes(idx(pixels))
        (tmp_path / labels).write_bytes(idx(np.arange(n, dtype=np.uint8)))
    return tmp_path
