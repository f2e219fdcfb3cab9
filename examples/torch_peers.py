"""The models of `lucid_fn.models` in PyTorch, under the same names."""

from itertools import pairwise

import torch
from torch import nn


def lenet5() -> nn.Module:
    """The layers of `models.lenet5`."""
    parts = {
        "conv1": nn.Conv2d(1, 6, 5),
        "act1": nn.Tanh(),
        "pool1": nn.AvgPool2d(2),
        "conv2": nn.Conv2d(6, 16, 5),
        "act2": nn.Tanh(),
        "pool2": nn.AvgPool2d(2),
        "flatten": nn.Flatten(),
        "fc1": nn.Linear(256, 120),
        "act3": nn.Tanh(),
        "fc2": nn.Linear(120, 84),
        "act4": nn.Tanh(),
        "fc3": nn.Linear(84, 10),
    }
    model = nn.Sequential()
    for name, part in parts.items():
        model.add_module(name, part)
    return model


class BasicBlock(nn.Module):
    """torchvision's block of ResNet-18 and ResNet-34."""

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or in_channels != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, width, 1, stride, bias=False),
                nn.BatchNorm2d(width),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(y + shortcut)


class ResNet18(nn.Module):
    """torchvision's `resnet18`, with its names and forward pass."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        widths = [64, 64, 128, 256, 512]
        for i, (in_channels, width) in enumerate(pairwise(widths), start=1):
            stride = 1 if i == 1 else 2
            first = BasicBlock(in_channels, width, stride)
            stage = nn.Sequential(first, BasicBlock(width, width, 1))
            self.add_module(f"layer{i}", stage)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def cifar_resnet18(num_classes: int = 10) -> nn.Module:
    """ResNet-18 with a 3x3 stem of stride 1 and without the max pool."""
    model = ResNet18(num_classes)
    model.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    model.maxpool = nn.Identity()
    return model
