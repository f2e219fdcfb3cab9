"""PyTorch: variants `nchw`, `channels_last`, and each of them with `+compile`."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from tests.benchmarks import workloads
from tests.benchmarks.peers.pytorch.models import MODELS
from tests.benchmarks.peers.pytorch.others import OTHERS
from tests.benchmarks.workloads import Workload


def make(workload: Workload, size: int, variant: str) -> Callable[[], object]:
    torch.manual_seed(0)
    layout, _, compiled = variant.partition("+")
    if workload.kind == "other":
        return OTHERS[workload.model](workload, size, layout, bool(compiled))
    module = MODELS[workload.model]()
    if layout == "channels_last":
        module = module.to(memory_format=torch.channels_last)
    model = torch.compile(module) if compiled else module
    x, labels = tensors(workload, size, layout)
    if workload.kind == "infer":
        return make_infer(model.eval(), x)
    optimizer = make_optimizer(workload.optimizer, module, fused=bool(compiled))
    model.train()

    def step(x: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, float]:
        optimizer.zero_grad()
        y = model(x)
        loss = loss_of(workload, y, labels)
        loss.backward()
        optimizer.step()
        return y, loss.item()

    if workload.kind == "loop":
        return make_loop(workload, size, layout, model, step)
    return lambda: step(x, labels)[1]


def make_optimizer(name: str, module: nn.Module, *, fused: bool):
    rate, decay = workloads.OPTIMIZERS[name].values()
    options = {"lr": rate, "weight_decay": decay, "fused": fused or None}
    if name == "sgd":
        return torch.optim.SGD(module.parameters(), momentum=0.9, **options)
    kind = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    return kind(module.parameters(), **options)


def loss_of(workload: Workload, y, labels):
    if not workload.classes:
        return F.mse_loss(y, labels)
    if len(workload.labels) == 1:  # a label each token
        y, labels = y.flatten(0, 1), labels.flatten()
    return F.cross_entropy(y, labels)


def make_infer(model: nn.Module, x: torch.Tensor) -> Callable[[], None]:
    def run() -> None:
        with torch.inference_mode():
            model(x)

    return run


def tensors(
    workload: Workload, size: int, layout: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch in a layout."""
    x, labels = map(torch.from_numpy, workloads.batch(workload, size))
    if not workload.vocabulary and workload.model not in SEQUENCES:
        x = x.movedim(-1, 1).contiguous()
    if layout == "channels_last":
        x = x.to(memory_format=torch.channels_last)
    if workload.vocabulary:
        x = x.long()
    return x, labels.long() if workload.classes else labels


SEQUENCES = ("transformer", "lstm", "gru")  # features are last here, too


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
