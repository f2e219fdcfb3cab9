"""What is run: sizes that all peers share."""

from typing import NamedTuple

import numpy as np


class Workload(NamedTuple):
    """A model, its input without the batch axis (channels last), and its batch."""

    title: str
    model: str
    shape: tuple[int, ...]
    batch_size: int
    optimizer: str = "adam"  # see `OPTIMIZERS`
    steps: int = 0  # steps in one turn of a peer; 0: as many as take about a second
    kind: str = "train"  # or "infer", "loop" (an epoch), "other" (see `peers`)
    vocabulary: int = 0  # inputs are integers below it, if it is not 0
    classes: int = 10  # labels are integers below it; 0: the target is the input
    labels: tuple[int, ...] = ()  # the shape of an example's labels
    modules: tuple[str, ...] = ("lucid", "pytorch", "jax_jit")
    compiled: bool = True  # whether torch.compile is among the peers


ALL = ("lucid", "pytorch", "jax_jit", "mlx_nn")
MNIST, CIFAR, IMAGENET = (28, 28, 1), (32, 32, 3), (224, 224, 3)

# What the documentation speaks of.
MAIN = {
    "lenet-64": Workload(
        "LeNet-5, batch 64, SGD with momentum",
        *("lenet", MNIST, 64, "sgd", 50),
        modules=ALL,
    ),
    "lenet-loop": Workload(
        "LeNet-5, the whole loop: an epoch of 60,000 images and evaluation",
        *("lenet", MNIST, 64, "sgd", 1, "loop"),
        modules=("lucid", "pytorch"),
    ),
    "lenet-128": Workload(
        "LeNet-5, batch 128, SGD with momentum",
        *("lenet", MNIST, 128, "sgd", 30),
        modules=ALL,
    ),
    "mlp-128": Workload(
        "MLP 784-512-512-10, batch 128, Adam",
        *("mlp", (784,), 128, "adam_l2", 50),
        modules=ALL,
    ),
    "transformer-16": Workload(
        "Transformer block, 16 x 64 tokens of width 256, Adam",
        *("transformer", (64, 256), 16, "adam_l2", 7),
        modules=ALL,
    ),
    "resnet18-128": Workload(
        "ResNet-18 for CIFAR-10, batch 128, Adam",
        *("resnet18", CIFAR, 128, "adam_l2", 2),
        modules=ALL,
    ),
}

# What else people train.
WIDE = {
    "vit": Workload("ViT, 6 blocks of 192, batch 64, AdamW", "vit", CIFAR, 64, "adamw"),
    "vit-12": Workload(
        "ViT, 12 blocks of 192, batch 16, AdamW", "vit-12", CIFAR, 16, "adamw"
    ),
    "gpt": Workload(
        "GPT, 4 blocks of 256, 8 x 256 tokens, AdamW",
        *("gpt", (256,), 8, "adamw"),
        vocabulary=8192,
        classes=8192,
        labels=(256,),
    ),
    "decoding": Workload(
        "GPT decoding: a token, with a cache of 256 places",
        *("decoding", (1,), 1),
        kind="other",
    ),
    "mobilenet": Workload(
        "MobileNetV2 for CIFAR-10, batch 64, SGD", "mobilenet", CIFAR, 64, "sgd"
    ),
    "unet": Workload(
        "U-Net, 16 images of 64 x 64, Adam",
        *("unet", (64, 64, 3), 16),
        classes=2,
        labels=(64, 64),
    ),
    "resnet18-224": Workload(
        "ResNet-18, 224 x 224, batch 8, SGD",
        *("resnet18-224", IMAGENET, 8, "sgd"),
        classes=1000,
    ),
    "resnet50-224": Workload(
        "ResNet-50, 224 x 224, batch 4, SGD",
        *("resnet50-224", IMAGENET, 4, "sgd"),
        classes=1000,
    ),
    "resnet18-16": Workload(
        "ResNet-18 for CIFAR-10, batch 16, Adam", "resnet18", CIFAR, 16
    ),
    "resnet18-own": Workload(
        "ResNet-18 for CIFAR-10 of a user's own blocks, batch 128, to the built-in",
        *("resnet18-own", CIFAR, 128),
        modules=("lucid", "lucid_built_in"),
    ),
    "resnet18-224-infer": Workload(
        "ResNet-18 inference, one image of 224 x 224",
        *("resnet18-224", IMAGENET, 1),
        kind="infer",
    ),
    "resnet18-infer": Workload(
        "ResNet-18 for CIFAR-10, inference, batch 64",
        *("resnet18", CIFAR, 64),
        kind="infer",
    ),
    "lenet-infer": Workload(
        "LeNet-5 inference, one image", "lenet", MNIST, 1, kind="infer"
    ),
    "lstm": Workload(
        "LSTM, 2 layers of 256, 32 x 128 steps, Adam",
        *("lstm", (128, 128), 32),
        compiled=False,
    ),
    "gru": Workload(
        "GRU, 2 layers of 256, 32 x 128 steps, Adam",
        *("gru", (128, 128), 32),
        compiled=False,
    ),
    "tcn": Workload(
        "TCN, dilations 1 to 32, 16 x 2048 steps, Adam", "tcn", (2048, 1), 16
    ),
    "mlp": Workload("MLP 784-512-512-10, batch 128, plain Adam", "mlp", (784,), 128),
    "mlp-sgd": Workload(
        "MLP 784-512-512-10, batch 128, SGD", "mlp", (784,), 128, "sgd"
    ),
    "autoencoder": Workload(
        "Autoencoder 784-256-64-16 and back, batch 128, Adam",
        *("autoencoder", (784,), 128),
        classes=0,
    ),
    "dcgan": Workload(
        "DCGAN, batch 64, both networks, Adam", "dcgan", CIFAR, 64, kind="other"
    ),
    "conv3d": Workload("3D convolutions, batch 2, Adam", "conv3d", (16, 32, 32, 3), 2),
    "lm-head": Workload(
        "Embedding, layer norm and logits of 32k words, 512 tokens, SGD",
        *("lm-head", (), 512, "sgd"),
        vocabulary=32768,
        classes=32768,
    ),
    "layer-norm": Workload(
        "Layer norm 4096 x 1024 and gradients",
        *("layer-norm", (1024,), 4096),
        kind="other",
    ),
    "softmax": Workload(
        "Softmax 256 x 32k and gradient", "softmax", (32768,), 256, kind="other"
    ),
    "cross-entropy": Workload(
        "Cross-entropy 512 x 32k and gradient",
        *("cross-entropy", (32768,), 512),
        kind="other",
    ),
    "embedding": Workload(
        "Embedding gradient, 4096 of 32k rows of 256",
        *("embedding", (256,), 4096),
        kind="other",
        vocabulary=32768,
    ),
    **{
        f"dispatch-{leaves}": Workload(
            f"Update of {leaves} small leaves in one compiled call",
            *("dispatch", (16,), leaves),
            kind="other",
            modules=ALL,
        )
        for leaves in (1, 10, 100, 1000)
    },
    "loader": Workload(
        "Loader with 2 workers, 8,192 images padded, cropped, flipped and normalized",
        *("loader", (8192,), 64),
        kind="other",
        modules=("lucid", "pytorch"),
        compiled=False,
    ),
    "scan-sgd": Workload(
        "100 SGD steps of an MLP 32-64-10 in one loop, batch 32",
        *("scan-sgd", (100, 32), 32),
        kind="other",
        modules=("lucid", "jax_jit"),
    ),
    "scan-gru": Workload(
        "Gradient of a GRU of 32 over 400 steps, batch 8, written as a loop",
        *("scan-gru", (400, 16), 8),
        kind="other",
        modules=("lucid", "jax_jit"),
    ),
}

WORKLOADS = MAIN | WIDE

# Momentum of SGD is 0.9, the decay of `adam_l2` coupled, that of `adamw` is not.
OPTIMIZERS = {
    "sgd": {"rate": 1e-2, "decay": 0.0},
    "adam": {"rate": 1e-3, "decay": 0.0},
    "adam_l2": {"rate": 1e-3, "decay": 5e-4},
    "adamw": {"rate": 1e-3, "decay": 1e-2},
}
MLP_WIDTH = 512
HEADS, FEED_FORWARD = 8, 1024
TRAINING, TESTING, TEST_BATCH = 60_000, 10_000, 1_000  # images of an epoch, as in MNIST


class Transformer(NamedTuple):
    """Pre-norm blocks with GELU, four times as wide inside."""

    width: int
    depth: int
    heads: int
    context: int
    vocabulary: int = 0


VIT = Transformer(192, 6, 3, 64)
VIT_PATCH = 4
GPT = Transformer(256, 4, 4, 256, 8192)
AUTOENCODER = (784, 256, 64, 16, 64, 256, 784)
RECURRENT_WIDTH, RECURRENT_LAYERS = 256, 2
TCN_WIDTH, TCN_DILATIONS = 64, (1, 2, 4, 8, 16, 32)
CONV3D_WIDTHS = (3, 16, 32, 64)
UNET_WIDTHS = (3, 16, 32, 64, 128)
LM_WIDTH = 256
GAN_NOISE, GAN_WIDTH, GAN_RATE = 100, 64, 2e-4
# Channels, stride and padding of 4 x 4 kernels, from the noise to the image; the
# discriminator's are these in reverse.
GAN_LAYERS = (
    (GAN_NOISE, 4 * GAN_WIDTH, 1, 0),
    (4 * GAN_WIDTH, 2 * GAN_WIDTH, 2, 1),
    (2 * GAN_WIDTH, GAN_WIDTH, 2, 1),
    (GAN_WIDTH, 3, 2, 1),
)
GAN_CRITIC = (
    (3, GAN_WIDTH, 2, 1),
    (GAN_WIDTH, 2 * GAN_WIDTH, 2, 1),
    (2 * GAN_WIDTH, 4 * GAN_WIDTH, 2, 1),
    (4 * GAN_WIDTH, 1, 1, 0),
)
# Of MobileNetV2: expansion, channels, blocks, stride of the first.
MOBILENET = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 2, 2),
    (6, 64, 2, 2),
    (6, 96, 1, 1),
    (6, 160, 1, 2),
)
MOBILENET_LAST = 320


def mobilenet_blocks() -> list[tuple[int, int, int, int]]:
    """Channels in, inside and out, and stride of each block."""
    blocks, channels = [], 32
    for expansion, width, number, first in MOBILENET:
        for i in range(number):
            stride = first if i == 0 else 1
            blocks.append((channels, channels * expansion, width, stride))
            channels = width
    return blocks


def batch(workload: Workload, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Noise or tokens, and labels for each example."""
    rng = np.random.default_rng(0)
    shape = (size, *workload.shape)
    if workload.vocabulary:
        x = rng.integers(0, workload.vocabulary, shape).astype(np.int32)
    else:
        x = rng.normal(size=shape).astype(np.float32)
    if not workload.classes:
        return x, x
    labels = rng.integers(0, workload.classes, (size, *workload.labels))
    return x, labels.astype(np.int32)


def noise(*shape: int, seed: int = 1) -> np.ndarray:
    """Normal numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)
