"""The arrays of a data set."""

from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray


class Dataset(NamedTuple):
    """Images and labels for training and for testing, as NumPy arrays.

    Images are uint8, 0 to 255, `(N, H, W, C)`; labels are int32 class indices, `(N,)`.
    """

    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int32]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int32]

    @classmethod
    def __init_subclass__(cls, **options: Any) -> NoReturn:
        raise TypeError(
            f"Dataset: {cls.__name__} needs no base class; data.loader takes any "
            "object with __len__ and __getitem__"
        )
