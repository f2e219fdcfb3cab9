"""PyTorch: variants `nchw`, `channels_last`, and each of them with `+compile`."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tests.benchmarks import workloads
from tests.benchmarks.workloads import Workload


def lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 120),
        nn.Tanh(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, 10),
    )


def mlp() -> nn.Module:
    width = workloads.MLP_WIDTH
    return nn.Sequential(
        nn.Linear(784, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 10),
    )


class Block(nn.Module):
    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


def resnet18() -> nn.Module:
    layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU()]
    channels = 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(channels, width, stride), Block(width, width, 1)]
        channels = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)]
    return nn.Sequential(*layers)


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.TransformerEncoderLayer(
            256,
            workloads.HEADS,
            workloads.FEED_FORWARD,
            dropout=0.0,
            batch_first=True,
            norm_first=True,
        )
        self.head = nn.Linear(256, 10)

    def forward(self, x):
        return self.head(self.block(x).mean(1))


MODELS = {
    "lenet": lenet,
    "mlp": mlp,
    "resnet18": resnet18,
    "transformer": Transformer,
}


def make(workload: Workload, size: int, variant: str) -> Callable[[], None]:
    layout, _, compiled = variant.partition("+")
    model = MODELS[workload.model]()
    if layout == "channels_last":
        model = model.to(memory_format=torch.channels_last)
    if compiled:
        model = torch.compile(model)
    optimizer = (
        torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        if workload.optimizer == "sgd"
        else torch.optim.Adam(
            model.parameters(), lr=1e-3, weight_decay=workloads.WEIGHT_DECAY
        )
    )
    model.train()

    def step(x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, float]:
        optimizer.zero_grad()
        logits = model(x)
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        return logits, loss.item()

    if workload.loop:
        return make_loop(workload, size, layout, model, step)
    x, labels = tensors(workload, size, layout)
    return lambda: step(x, labels)


def tensors(
    workload: Workload, size: int, layout: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch in a layout."""
    x_array, labels_array = workloads.batch(workload, size)
    x, labels = torch.from_numpy(x_array), torch.from_numpy(labels_array).long()
    if x.ndim == 4:
        x = x.permute(0, 3, 1, 2).contiguous()
    if layout == "channels_last":
        x = x.to(memory_format=torch.channels_last)
    return x, labels


def make_loop(
    workload: Workload, size: int, layout: str, model: nn.Module, step
) -> Callable[[], None]:
    """What `train.fit` does, with the same records, on tensors in memory."""
    images, classes = tensors(workload, workloads.TRAINING, layout)
    test_images, test_classes = tensors(workload, workloads.TESTING, layout)

    def counted(logits, loss: float, labels) -> np.ndarray:
        correct = (logits.argmax(1) == labels).sum().item()
        return np.array([loss * len(labels), correct, len(labels)])

    def run() -> None:
        model.train()
        sums, losses = np.zeros(3), []
        for rows in torch.randperm(len(images)).split(size):
            x, labels = images[rows], classes[rows]
            logits, loss = step(x, labels)
            losses.append(loss)
            sums += counted(logits, loss, labels)
        model.eval()
        tested = np.zeros(3)
        with torch.no_grad():
            pairs = (t.split(workloads.TEST_BATCH) for t in (test_images, test_classes))
            for x, labels in zip(*pairs, strict=True):
                logits = model(x)
                tested += counted(
                    logits, F.cross_entropy(logits, labels).item(), labels
                )
        print(sums[:2] / sums[2], tested[:2] / tested[2])

    return run
