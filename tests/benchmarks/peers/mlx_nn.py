"""mlx.nn and mlx.optimizers, compiled; the variant `tuned` has our runtime."""

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim

from tests.benchmarks import workloads
from tests.benchmarks.workloads import Workload


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5),
        nn.Tanh(),
        nn.AvgPool2d(2, 2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2, 2),
        lambda x: x.reshape(x.shape[0], -1),
        nn.Linear(256, 120),
        nn.Tanh(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, 10),
    )


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(784, workloads.MLP_WIDTH),
        nn.ReLU(),
        nn.Linear(workloads.MLP_WIDTH, workloads.MLP_WIDTH),
        nn.ReLU(),
        nn.Linear(workloads.MLP_WIDTH, 10),
    )


class Block(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm(width)
            )

    def __call__(self, x):
        y = nn.relu(self.bn1(self.conv1(x)))
        return nn.relu(self.bn2(self.conv2(y)) + self.downsample(x))


def resnet18() -> nn.Module:
    layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm(64), nn.ReLU()]
    channels = 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(channels, width, stride), Block(width, width, 1)]
        channels = width
    layers += [lambda x: mx.mean(x, axis=(1, 2)), nn.Linear(512, 10)]
    return nn.Sequential(*layers)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(
            256, workloads.HEADS, workloads.FEED_FORWARD, norm_first=True
        )
        self.head = nn.Linear(256, 10)

    def __call__(self, x):
        return self.head(mx.mean(self.block(x, None), axis=1))


MODELS = {
    "lenet": lenet,
    "mlp": mlp,
    "resnet18": resnet18,
    "transformer": Transformer,
}


def dispatch(workload: Workload, size: int) -> Callable[[], None]:
    """`mx.compile` and `mx.eval`, with nothing around them."""
    add = mx.compile(lambda leaves, c: {name: x + c for name, x in leaves.items()})
    leaves = {f"leaf{i}": mx.zeros(workload.shape) for i in range(size)}
    one = mx.array(1.0)

    def run() -> None:
        nonlocal leaves
        leaves = add(leaves, one)
        mx.eval(leaves)

    return run


OTHERS = {"dispatch": dispatch}


def make(workload: Workload, size: int, variant: str) -> Callable[[], None]:
    if variant == "tuned":
        import lucid_fn  # noqa: F401  # its runtime is what this variant adds
    if workload.kind == "other":
        return OTHERS[workload.model](workload, size)
    model = MODELS[workload.model]()
    model.train()
    x, labels = map(mx.array, workloads.batch(workload, size))
    # Decoupled weight decay is as much work as the coupled one of the others.
    optimizer = (
        optim.SGD(0.01, momentum=0.9)
        if workload.optimizer == "sgd"
        else optim.AdamW(
            1e-3,
            weight_decay=workloads.OPTIMIZERS["adam_l2"]["decay"],
            bias_correction=True,
        )
    )
    mx.eval(model.parameters(), x, labels)
    value_and_grad = nn.value_and_grad(
        model, lambda x, y: nn.losses.cross_entropy(model(x), y, reduction="mean")
    )
    state = [model.state, optimizer.state]

    def step(x, labels):
        loss, grads = value_and_grad(x, labels)
        optimizer.update(model, grads)
        return loss

    compiled = mx.compile(step, inputs=state, outputs=state)

    def run() -> None:
        loss = compiled(x, labels)
        mx.eval(loss, state)

    return run
