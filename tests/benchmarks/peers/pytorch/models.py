"""The models, as PyTorch's users write them."""

import functools
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from tests.benchmarks import workloads


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


def dense(*sizes: int) -> nn.Module:
    layers = []
    for width, following in pairwise(sizes):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


class ResidualBlock(nn.Module):
    """Convolutions of a ResNet: `(channels, width, kernel, stride)` each."""

    def __init__(self, *convolutions: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.branch = nn.Sequential()
        stride = 1
        for i, (channels, width, kernel, step) in enumerate(convolutions):
            self.branch.extend(conv_norm(channels, width, kernel, step, kernel // 2))
            if i < len(convolutions) - 1:
                self.branch.append(nn.ReLU())
            stride *= step
        channels = convolutions[0][0]
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or channels != width:
            self.shortcut = nn.Sequential(*conv_norm(channels, width, 1, stride))

    def forward(self, x):
        return F.relu(self.branch(x) + self.shortcut(x))


def conv_norm(
    channels: int, width: int, kernel: int, stride=1, padding=0, groups=1
) -> list[nn.Module]:
    conv = nn.Conv2d(
        channels, width, kernel, stride, padding, groups=groups, bias=False
    )
    return [conv, nn.BatchNorm2d(width)]


def resnet(
    depths: tuple[int, ...], *, bottleneck: bool = False, cifar: bool = False
) -> nn.Module:
    layers = [*conv_norm(3, 64, 3, 1, 1), nn.ReLU()]
    if not cifar:
        layers = [*conv_norm(3, 64, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for stage, depth in enumerate(depths):
        for i in range(depth):
            width, stride = 64 << stage, 2 if stage and i == 0 else 1
            if bottleneck:
                sizes = [(channels, width, 1, 1), (width, width, 3, stride)]
                sizes.append((width, 4 * width, 1, 1))
            else:
                sizes = [(channels, width, 3, stride), (width, width, 3, 1)]
            layers.append(ResidualBlock(*sizes))
            channels = sizes[-1][1]
    head = nn.Linear(channels, 10 if cifar else 1000)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


class Encoder(nn.Module):
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


class TransformerBlock(nn.Module):
    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def heads_of(self, x):
        """Queries, keys and values `(N, heads, L, D)`."""
        n, length, width = x.shape
        mixed = self.qkv(self.norm1(x))
        shape = (n, length, 3, self.heads, width // self.heads)
        return mixed.view(shape).permute(2, 0, 3, 1, 4)

    def after(self, x, attended):
        x = x + self.out(attended.transpose(1, 2).reshape(x.shape))
        return x + self.down(F.gelu(self.up(self.norm2(x))))

    def forward(self, x):
        attended = F.scaled_dot_product_attention(
            *self.heads_of(x), is_causal=self.causal
        )
        return self.after(x, attended)


def blocks(sizes: workloads.Transformer, causal: bool) -> list[nn.Module]:
    return [
        TransformerBlock(sizes.width, sizes.heads, causal) for _ in range(sizes.depth)
    ]


class Positions(nn.Module):
    def __init__(self, sizes: workloads.Transformer) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.02 * torch.randn(sizes.context, sizes.width))

    def forward(self, x):
        return x + self.weight


class Vit(nn.Module):
    def __init__(self, sizes: workloads.Transformer = workloads.VIT) -> None:
        super().__init__()
        patch = workloads.VIT_PATCH
        self.patches = nn.Conv2d(3, sizes.width, patch, patch)
        self.body = nn.Sequential(
            Positions(sizes), *blocks(sizes, False), nn.LayerNorm(sizes.width)
        )
        self.head = nn.Linear(sizes.width, 10)

    def forward(self, x):
        return self.head(self.body(self.patches(x).flatten(2).transpose(1, 2)).mean(1))


def gpt(sizes: workloads.Transformer = workloads.GPT) -> nn.Module:
    return nn.Sequential(
        nn.Embedding(sizes.vocabulary, sizes.width),
        Positions(sizes),
        *blocks(sizes, True),
        nn.LayerNorm(sizes.width),
        nn.Linear(sizes.width, sizes.vocabulary),
    )


def lm_head() -> nn.Module:
    words, width = workloads.WORKLOADS["lm-head"].vocabulary, workloads.LM_WIDTH
    return nn.Sequential(
        nn.Embedding(words, width), nn.LayerNorm(width), nn.Linear(width, words)
    )


def mobilenet() -> nn.Module:
    def block(channels: int, inner: int, width: int, stride: int) -> nn.Module:
        layers = [*conv_norm(channels, inner, 1), nn.ReLU6()]
        layers += [*conv_norm(inner, inner, 3, stride, 1, inner), nn.ReLU6()]
        layers += conv_norm(inner, width, 1)
        kind = Residual if stride == 1 and channels == width else nn.Sequential
        return kind(*layers)

    plan, last = workloads.mobilenet_blocks(), workloads.MOBILENET_LAST
    return nn.Sequential(
        *conv_norm(3, 32, 3, 1, 1),
        nn.ReLU6(),
        *[block(*sizes) for sizes in plan],
        *conv_norm(plan[-1][2], last, 1),
        nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(last, 10),
    )


class Unet(nn.Module):
    def __init__(self) -> None:
        super().__init__()

        def double(channels: int, width: int) -> nn.Module:
            first = conv_norm(channels, width, 3, 1, 1)
            second = conv_norm(width, width, 3, 1, 1)
            return nn.Sequential(*first, nn.ReLU(), *second, nn.ReLU())

        widths = workloads.UNET_WIDTHS
        self.down = nn.ModuleList(double(*pair) for pair in pairwise(widths))
        pairs = list(pairwise(widths[1:]))
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, 2) for a, b in pairs)
        self.join = nn.ModuleList(double(b, a) for a, b in pairs)
        self.head = nn.Conv2d(widths[1], 2, 1)

    def forward(self, x):
        skips = []
        for layer in self.down[:-1]:
            skips.append(layer(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.down[-1](x)
        for i in (2, 1, 0):
            x = self.join[i](torch.cat([self.up[i](x), skips[i]], 1))
        return self.head(x)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        width, depth = workloads.RECURRENT_WIDTH, workloads.RECURRENT_LAYERS
        (_, features) = workloads.WORKLOADS["lstm"].shape
        self.layers = kind(features, width, depth, batch_first=True)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        return self.head(self.layers(x)[0][:, -1])


def tcn() -> nn.Module:
    width = workloads.TCN_WIDTH
    dilated = [
        Residual(nn.Conv1d(width, width, 3, padding=d, dilation=d), nn.ReLU())
        for d in workloads.TCN_DILATIONS
    ]
    return nn.Sequential(
        nn.Conv1d(1, width, 9, padding=4),
        *dilated,
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(width, 10),
    )


def conv3d() -> nn.Module:
    layers = []
    for channels, width in pairwise(workloads.CONV3D_WIDTHS):
        layers += [nn.Conv3d(channels, width, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool3d(2)]
    head = (nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(width, 10))
    return nn.Sequential(*layers[:-1], *head)


MODELS = {
    "lenet": lenet,
    "mlp": lambda: dense(784, workloads.MLP_WIDTH, workloads.MLP_WIDTH, 10),
    "autoencoder": lambda: dense(*workloads.AUTOENCODER),
    "transformer": Encoder,
    "vit": Vit,
    "vit-12": functools.partial(Vit, workloads.VIT._replace(depth=12)),
    "gpt": gpt,
    "lm-head": lm_head,
    "mobilenet": mobilenet,
    "unet": Unet,
    "resnet18": functools.partial(resnet, (2, 2, 2, 2), cifar=True),
    "resnet18-224": functools.partial(resnet, (2, 2, 2, 2)),
    "resnet50-224": functools.partial(resnet, (3, 4, 6, 3), bottleneck=True),
    "lstm": functools.partial(Recurrent, nn.LSTM),
    "gru": functools.partial(Recurrent, nn.GRU),
    "tcn": tcn,
    "conv3d": conv3d,
}
