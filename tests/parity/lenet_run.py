"""A hundred steps of LeNet-5 on real MNIST, in each framework.

    python -m tests.parity.lenet_run

writes what PyTorch computes to `tests/golden/lenet.npz`, for machines without it.
"""

from pathlib import Path

import numpy as np

from lucid_fn import data, losses, models, optim, random, train, tree

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "lenet.npz"
STEPS, BATCH, LEARNING_RATE, MOMENTUM = 100, 64, 0.01, 0.9


def batches() -> list[tuple[np.ndarray, np.ndarray]]:
    """The first batches of the training set, in the order of the files."""
    dataset = data.load_mnist(ROOT / "examples" / "data" / "mnist")
    x = data.normalize(dataset.train_images, data.MNIST_MEAN, data.MNIST_STD)
    cuts = range(0, STEPS * BATCH, BATCH)
    return [(x[i : i + BATCH], dataset.train_labels[i : i + BATCH]) for i in cuts]


def start():
    model = models.lenet5()
    optimizer = optim.sgd(LEARNING_RATE, momentum=MOMENTUM)
    step = train.make_step(model, optimizer, losses.softmax_cross_entropy)
    return train.init(model, optimizer, random.key(42)), step


def to_torch(params: dict) -> dict[str, np.ndarray]:
    """Our params in PyTorch's layout, by PyTorch's names."""
    arrays = {name: np.array(leaf) for name, leaf in tree.named_leaves(params).items()}
    for name in ("conv1.weight", "conv2.weight"):
        arrays[name] = arrays[name].transpose(0, 3, 1, 2)
    maps = arrays["fc1.weight"].reshape(120, 4, 4, 16)
    arrays["fc1.weight"] = maps.transpose(0, 3, 1, 2).reshape(120, 256)
    return arrays


def run() -> tuple[list[float], list[dict[str, np.ndarray]]]:
    """Our losses, and the params after each tenth step."""
    ts, step = start()
    losses_, params = [], []
    for i, (x, labels) in enumerate(batches(), 1):
        ts, metrics = step(ts, x, labels)
        losses_.append(metrics["loss"].item())
        if i % 10 == 0:
            params.append(to_torch(ts.params))
    return losses_, params


def run_torch() -> tuple[list[float], list[dict[str, np.ndarray]]]:
    """PyTorch's, from the same initial weights."""
    import torch

    nn = torch.nn
    model = nn.Sequential()
    for name, part in {
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
    }.items():
        model.add_module(name, part)
    initial = to_torch(start()[0].params)
    model.load_state_dict(
        {n: torch.tensor(np.ascontiguousarray(a)) for n, a in initial.items()}
    )
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=MOMENTUM)
    losses_, params = [], []
    for i, (x, labels) in enumerate(batches(), 1):
        optimizer.zero_grad()
        logits = model(torch.from_numpy(x).permute(0, 3, 1, 2))
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(labels).long())
        loss.backward()
        optimizer.step()
        losses_.append(loss.item())
        if i % 10 == 0:
            state = model.state_dict()
            params.append({name: t.numpy().copy() for name, t in state.items()})
    return losses_, params


def write_golden() -> None:
    losses_, params = run_torch()
    np.savez_compressed(GOLDEN, losses=np.float64(losses_), **params[-1])


if __name__ == "__main__":
    write_golden()
