"""Data sets as NumPy arrays, and batches of MLX arrays made from them."""

from lucid_fn.call_errors import guide
from lucid_fn.data.augmentation.color import color_jitter
from lucid_fn.data.augmentation.cropping import random_crop, random_resized_crop
from lucid_fn.data.augmentation.erasing import cutout, random_erasing
from lucid_fn.data.augmentation.flipping import random_flip
from lucid_fn.data.augmentation.mixing import cutmix, mixup
from lucid_fn.data.batching import Batches, batches
from lucid_fn.data.cifar10 import CIFAR10_MIRRORS, load_cifar10
from lucid_fn.data.cifar100 import CIFAR100_MIRRORS, load_cifar100
from lucid_fn.data.dataset import Dataset
from lucid_fn.data.emnist import EMNIST_MIRRORS, load_emnist
from lucid_fn.data.fashion_mnist import FASHION_MNIST_MIRRORS, load_fashion_mnist
from lucid_fn.data.kmnist import KMNIST_MIRRORS, load_kmnist
from lucid_fn.data.loading import Loader, loader
from lucid_fn.data.mnist import MNIST_MIRRORS, load_mnist
from lucid_fn.data.normalization import (
    CIFAR10_MEAN,
    CIFAR10_STD,
    MNIST_MEAN,
    MNIST_STD,
    normalize,
)
from lucid_fn.data.prefetching import Prefetched, prefetch

__all__ = [
    "CIFAR10_MEAN",
    "CIFAR10_MIRRORS",
    "CIFAR10_STD",
    "CIFAR100_MIRRORS",
    "EMNIST_MIRRORS",
    "FASHION_MNIST_MIRRORS",
    "KMNIST_MIRRORS",
    "MNIST_MEAN",
    "MNIST_MIRRORS",
    "MNIST_STD",
    "Batches",
    "Dataset",
    "Loader",
    "Prefetched",
    "batches",
    "color_jitter",
    "cutmix",
    "cutout",
    "load_cifar10",
    "load_cifar100",
    "load_emnist",
    "load_fashion_mnist",
    "load_kmnist",
    "load_mnist",
    "loader",
    "mixup",
    "normalize",
    "prefetch",
    "random_crop",
    "random_erasing",
    "random_flip",
    "random_resized_crop",
]

guide(globals(), "data")
