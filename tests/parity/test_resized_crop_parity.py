"""Windows resized by random_resized_crop against PyTorch's antialiased bilinear."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn.data.augmentation.cropping import resized_windows
from lucid_fn.data.augmentation.rectangles import Rectangles
from tests.parity.layouts import to_torch

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("size", [(4, 4), (9, 5), (20, 31)])
def test_windows_are_resized_as_by_pytorch(size):
    x = np.random.default_rng(0).normal(size=(4, 17, 13, 3)).astype(np.float32)
    boxes = np.array([[0, 0, 17, 13], [3, 2, 11, 5], [16, 12, 1, 1], [5, 0, 7, 13]])
    windows = Rectangles(*(mx.array(part)[:, None] for part in boxes.T))
    found = resized_windows(mx.array(x), windows, *size)
    for image, (top, left, h, w), ours in zip(x, boxes, found, strict=True):
        window = to_torch(image[None, top : top + h, left : left + w])
        expected = torch.nn.functional.interpolate(
            window, size, mode="bilinear", antialias=True
        )
        expected = expected[0].permute(1, 2, 0).numpy()
        np.testing.assert_allclose(np.array(ours), expected, 0, atol=2e-6)
