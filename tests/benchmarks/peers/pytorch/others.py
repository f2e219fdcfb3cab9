"""What is not the training or the inference of one model."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tests.benchmarks import augmenting, workloads
from tests.benchmarks.peers.pytorch.models import blocks
from tests.benchmarks.workloads import Workload

Run = Callable[[], None]


class Decoder(nn.Module):
    """A GPT that takes one token and keeps keys and values."""

    def __init__(self, size: int) -> None:
        super().__init__()
        sizes = workloads.GPT
        self.words = nn.Embedding(sizes.vocabulary, sizes.width)
        self.blocks = nn.ModuleList(blocks(sizes, True))
        self.norm = nn.LayerNorm(sizes.width)
        self.head = nn.Linear(sizes.width, sizes.vocabulary)
        shape = (size, sizes.heads, sizes.context, sizes.width // sizes.heads)
        for i in range(sizes.depth):
            self.register_buffer(f"keys{i}", torch.zeros(shape))
            self.register_buffer(f"values{i}", torch.zeros(shape))
        self.register_buffer("places", torch.arange(sizes.context))

    def forward(self, tokens, place):
        x = self.words(tokens)
        seen = (self.places <= place)[None, None, None]
        for i, block in enumerate(self.blocks):
            q, k, v = block.heads_of(x)
            keys, values = getattr(self, f"keys{i}"), getattr(self, f"values{i}")
            keys.index_copy_(2, place, k)
            values.index_copy_(2, place, v)
            attended = F.scaled_dot_product_attention(q, keys, values, attn_mask=seen)
            x = block.after(x, attended)
        return self.head(self.norm(x)).argmax(-1)


def decoding(workload: Workload, size: int, layout: str, compiled: bool) -> Run:
    """A token; at the end of the cache it begins anew."""
    model = Decoder(size).eval()
    step = torch.compile(model) if compiled else model
    tokens = torch.zeros(size, 1, dtype=torch.long)
    place = torch.zeros(1, dtype=torch.long)

    def run() -> None:
        nonlocal tokens, place
        if place.item() == workloads.GPT.context - 1:
            place = torch.zeros(1, dtype=torch.long)
        with torch.no_grad():
            tokens = step(tokens, place)
        place = place + 1

    return run


def dcgan(workload: Workload, size: int, layout: str, compiled: bool) -> Run:
    """A step of the discriminator, then one of the generator."""
    made, judged = [], []
    for i, (channels, width, stride, pad) in enumerate(workloads.GAN_LAYERS):
        made += [nn.ConvTranspose2d(channels, width, 4, stride, pad, bias=False)]
        made += [nn.BatchNorm2d(width), nn.ReLU()] if i < 3 else [nn.Tanh()]
    for i, (channels, width, stride, pad) in enumerate(workloads.GAN_CRITIC):
        judged += [nn.Conv2d(channels, width, 4, stride, pad, bias=False)]
        judged += [nn.BatchNorm2d(width)] if i in (1, 2) else []
        judged += [nn.LeakyReLU(0.2)] if i < 3 else []
    generator, critic = nn.Sequential(*made), nn.Sequential(*judged, nn.Flatten(0))
    real = torch.from_numpy(workloads.noise(size, *workload.shape)).permute(0, 3, 1, 2)
    z = torch.from_numpy(workloads.noise(size, workloads.GAN_NOISE, 1, 1))
    real = real.contiguous()
    if layout == "channels_last":
        options = {"memory_format": torch.channels_last}
        generator, critic = generator.to(**options), critic.to(**options)
        real, z = real.to(**options), z.to(**options)
    of_generator, of_critic = (
        torch.optim.Adam(
            net.parameters(),
            lr=workloads.GAN_RATE,
            betas=(0.5, 0.999),
            fused=compiled or None,
        )
        for net in (generator, critic)
    )
    make = torch.compile(generator) if compiled else generator
    judge = torch.compile(critic) if compiled else critic

    def run() -> None:
        with torch.enable_grad() if compiled else torch.no_grad():  # one compilation
            fake = make(z).detach()
        of_critic.zero_grad()
        loss = F.softplus(-judge(real)).mean() + F.softplus(judge(fake)).mean()
        loss.backward()
        of_critic.step()
        of_generator.zero_grad()
        critic.requires_grad_(False)
        second = F.softplus(-judge(make(z))).mean()
        second.backward()
        of_generator.step()
        critic.requires_grad_(True)
        (loss.item(), second.item())

    return run


def gradients(fn, number: int, compiled: bool, *arrays) -> Run:
    """The value of `fn`, and its gradients in the first `number` arguments."""
    tensors = [torch.as_tensor(a) for a in arrays]
    wanted = [t.requires_grad_() for t in tensors[:number]]
    tensors = [t if t.is_floating_point() else t.long() for t in tensors]
    step = torch.compile(fn) if compiled else fn

    def run() -> None:
        loss = step(*tensors)
        torch.autograd.grad(loss, wanted)
        loss.item()

    return run


def layer_norm(workload: Workload, size: int, layout: str, compiled: bool) -> Run:
    x, c = (workloads.noise(size, *workload.shape, seed=seed) for seed in (1, 2))

    def fn(x, weight, bias, c):
        return (F.layer_norm(x, workload.shape, weight, bias) * c).sum()

    weight, bias = torch.ones(workload.shape), torch.zeros(workload.shape)
    return gradients(fn, 3, compiled, x, weight, bias, c)


def softmax(workload: Workload, size: int, layout: str, compiled: bool) -> Run:
    x, c = (workloads.noise(size, *workload.shape, seed=seed) for seed in (1, 2))
    return gradients(lambda x, c: (x.softmax(-1) * c).sum(), 1, compiled, x, c)


def cross_entropy(workload: Workload, size: int, layout: str, compiled: bool) -> Run:
    (classes,) = workload.shape
    x, labels = workloads.batch(workload._replace(classes=classes), size)
    return gradients(F.cross_entropy, 1, compiled, x, labels)


def embedding(workload: Workload, size: int, layout: str, compiled: bool) -> Run:
    (width,) = workload.shape
    rows, _ = workloads.batch(workload._replace(shape=()), size)

    def fn(weight, rows, c):
        return (F.embedding(rows, weight) * c).sum()

    weight = workloads.noise(workload.vocabulary, width)
    c = workloads.noise(size, width, seed=2)
    return gradients(fn, 1, compiled, weight, rows, c)


def dispatch(workload: Workload, size: int, layout: str, compiled: bool) -> Run:
    leaves = [torch.zeros(workload.shape) for _ in range(size)]

    def eager(leaves):
        return torch._foreach_add(leaves, 1.0)

    add = torch.compile(lambda xs: [x + 1.0 for x in xs]) if compiled else eager

    def run() -> None:
        nonlocal leaves
        leaves = add(leaves)

    return run


class Augmented(torch.utils.data.Dataset):
    """Each worker has a generator of its own."""

    def __init__(self, count: int) -> None:
        self.images = augmenting.Images(count)
        self.rng = None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int):
        if self.rng is None:
            self.rng = np.random.default_rng(torch.initial_seed())
        return augmenting.augment(self.images[index], self.rng)


def loader(workload: Workload, size: int, layout: str, compiled: bool) -> Run:
    """An epoch."""
    (count,) = workload.shape
    made = torch.utils.data.DataLoader(
        Augmented(count),
        size,
        shuffle=True,
        num_workers=augmenting.WORKERS,
        persistent_workers=True,
    )

    def run() -> None:
        for _ in made:
            pass

    return run


OTHERS = {
    "decoding": decoding,
    "dcgan": dcgan,
    "layer-norm": layer_norm,
    "softmax": softmax,
    "cross-entropy": cross_entropy,
    "embedding": embedding,
    "dispatch": dispatch,
    "loader": loader,
}
