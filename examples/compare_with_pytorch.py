"""One experiment in both frameworks, with equal data, initial weights and batches.

    pip install torch
    python examples/compare_with_pytorch.py lenet --out out/compare_lenet
    python examples/compare_with_pytorch.py resnet18 --data ~/cifar10 --out out/resnet18

First, both take a few steps, each from the same weights, to find the first quantity
that differs by more than rounding: the output, the loss, a gradient, a running
statistic or an update. Then both frameworks train, and a table shows losses,
accuracies and times. `--out` gets both histories, `curves.png` and `losses.png`.
"""

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx
import numpy as np
import torch
import torch_peers
import torch_training

from lucid_fn import (
    data,
    losses,
    metrics,
    models,
    nn,
    optim,
    plot,
    random,
    schedules,
    train,
)
from lucid_fn.interop import compare
from lucid_fn.interop.torch import from_state_dict, to_state_dict

DATA = Path(__file__).parent / "data"


class Config(NamedTuple):
    experiment: str
    data: str
    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float = 0.0
    weight_decay: float = 0.0
    step_size: int = 10
    gamma: float = 1.0
    subset: int | None = None
    seed: int = 42
    steps: int | None = None
    explain: int = 3
    device: str = "default"
    out: str | None = None


DEFAULTS = {
    "lenet": Config("lenet", str(DATA / "mnist"), 10, 64, 0.01, momentum=0.9),
    "resnet18": Config(
        "resnet18", str(DATA / "cifar10"), 20, 128, 1e-3, weight_decay=5e-4, gamma=0.1
    ),
}


class Experiment(NamedTuple):
    """The parts in which the experiments differ."""

    title: str
    model: nn.Layer
    peer: torch.nn.Module
    flattened: dict[str, tuple[int, int, int]]  # shapes of flattened feature maps
    optimizer: Callable[[schedules.Schedule], optim.GradientTransformation]
    peer_optimizer: torch.optim.Optimizer
    load: Callable[[str], data.Dataset]
    mean: float | tuple[float, ...]
    std: float | tuple[float, ...]


def lenet(config: Config) -> Experiment:
    peer = torch_peers.lenet5()
    options = {"momentum": config.momentum, "weight_decay": config.weight_decay}
    return Experiment(
        "LeNet-5 on MNIST",
        models.lenet5(),
        peer,
        {"fc1": (4, 4, 16)},
        lambda rate: optim.sgd(rate, **options),
        torch.optim.SGD(peer.parameters(), config.learning_rate, **options),
        data.load_mnist,
        data.MNIST_MEAN,
        data.MNIST_STD,
    )


def resnet18(config: Config) -> Experiment:
    peer = torch_peers.cifar_resnet18()
    options = {"weight_decay": config.weight_decay}
    return Experiment(
        "ResNet-18 on CIFAR-10",
        models.cifar_resnet18(),
        peer,
        {},
        lambda rate: optim.adam(rate, **options),
        torch.optim.Adam(peer.parameters(), config.learning_rate, **options),
        data.load_cifar10,
        data.CIFAR10_MEAN,
        data.CIFAR10_STD,
    )


def explain(config, experiment, optimizer, ts, batches) -> None:
    """Compare a few steps of both frameworks, each from the same weights."""
    peer = copy.deepcopy(experiment.peer)
    peer_optimizer = type(experiment.peer_optimizer)(
        peer.parameters(), **experiment.peer_optimizer.defaults
    )

    def to_ours(arrays):
        return from_state_dict(experiment.model, arrays, flattened=experiment.flattened)

    ours, theirs = [], []
    for _, (x, labels) in zip(range(config.explain), batches(0), strict=False):
        params, state = to_ours(peer.state_dict())
        record = torch_training.record_step(peer, peer_optimizer, x, labels, to_ours)
        theirs.append(record)
        ts, record = compare.record_step(
            experiment.model,
            optimizer,
            losses.softmax_cross_entropy,
            ts._replace(params=params, state=state),
            x,
            labels,
            grads=record["gradient"],
        )
        ours.append(record)
    print(f"side by side from the same weights, {len(ours)} steps")
    print(compare.report(compare.differences(ours, theirs)) + "\n")


def main(config: Config) -> dict[str, train.History]:
    if config.device != "default":
        mx.set_default_device(mx.Device(getattr(mx, config.device)))
    out = None if config.out is None else Path(config.out)
    if out is not None:  # fail before training, not after it
        out.mkdir(parents=True, exist_ok=True)
    experiment = {"lenet": lenet, "resnet18": resnet18}[config.experiment](config)
    arrays = experiment.load(config.data)
    dataset = data.Dataset(*(array[: config.subset] for array in arrays))
    x_train, x_test = (
        data.normalize(images, experiment.mean, experiment.std)
        for images in (dataset.train_images, dataset.test_images)
    )
    training = (x_train, dataset.train_labels)
    test_size = 1000 if config.experiment == "lenet" else 250
    test_batches = data.batches((x_test, dataset.test_labels), test_size)

    def batches(epoch):
        return data.batches(training, config.batch_size, seed=(config.seed, epoch))

    by_epoch = schedules.step_decay(
        config.learning_rate, step_size=config.step_size, gamma=config.gamma
    )
    optimizer = experiment.optimizer(schedules.per_epoch(by_epoch, len(batches(0))))
    model, loss = experiment.model, losses.softmax_cross_entropy
    accuracy = {"accuracy": metrics.accuracy}
    ts = train.init(model, optimizer, random.key(config.seed))

    def exported(ts):
        arrays = to_state_dict(
            model, ts.params, ts.state, flattened=experiment.flattened
        )
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

    experiment.peer.load_state_dict(exported(ts))
    if config.explain:
        explain(config, experiment, optimizer, ts, batches)

    print("lucid_fn")
    ts, ours = train.fit(
        ts,
        train.make_step(model, optimizer, loss, metrics=accuracy),
        batches,
        epochs=config.epochs,
        evaluate=train.make_eval_step(model, loss, metrics=accuracy),
        test_batches=test_batches,
        max_steps=config.steps,
        config=config._asdict(),
    )
    if ours.interrupted:
        return {"lucid_fn": ours}
    print("PyTorch")
    theirs = torch_training.fit(
        config,
        experiment.peer,
        experiment.peer_optimizer,
        batches,
        test_batches,
    )

    runs = {"lucid_fn": ours, "PyTorch": theirs}
    report(runs)
    peer_arrays = experiment.peer.state_dict()
    differences = [
        (tensor - peer_arrays[name]).abs().max().item()
        for name, tensor in exported(ts).items()
    ]
    gaps = np.abs(np.subtract(ours.batch_losses, theirs.batch_losses))
    print(f"largest difference of a batch's loss: {gaps.max():.1e}", end="")
    print(f" (first 100 steps: {gaps[:100].max():.1e})")
    print(f"largest difference of a parameter at the end: {max(differences):.1e}")
    if out is not None:
        for name, history in runs.items():
            history.to_json(out / f"{name.lower()}.json")
        plot.compare(runs, out / "curves.png", title=experiment.title)
        plot.batch_and_epoch_losses(runs, out / "losses.png", title=experiment.title)
        print(f"wrote {out / 'curves.png'}, losses.png and two histories")
    return runs


def report(runs: dict[str, train.History]) -> None:
    """Print a table of the last epoch's metrics and of the total times."""
    names = ["train_loss", "train_accuracy", "test_loss", "test_accuracy"]
    print("\n" + " " * 22 + "".join(f"{run:>12}" for run in runs))
    for name in names:
        values = (history.series(name)[-1] for history in runs.values())
        label = name.replace("_", " ")
        print(f"{label:22}" + "".join(f"{value:12.4f}" for value in values))
    for label, phases in (
        ("seconds, training", ["train_seconds"]),
        ("seconds, all", ["train_seconds", "test_seconds"]),
    ):
        totals = (sum(sum(h.series(p)) for p in phases) for h in runs.values())
        print(f"{label:22}" + "".join(f"{total:12.2f}" for total in totals))
    print()


def parse(arguments: list[str] | None = None) -> Config:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment", choices=list(DEFAULTS))
    parser.add_argument("--data", help="folder with the data set")
    parser.add_argument(
        "--subset", type=int, help="train and test on this many images only"
    )
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--momentum", type=float, help="of lenet's SGD")
    parser.add_argument("--weight-decay", type=float)
    parser.add_argument("--step-size", type=int, help="epochs per learning rate")
    parser.add_argument("--gamma", type=float, help="factor between learning rates")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--steps", type=int, help="stop after this many")
    parser.add_argument("--explain", type=int, help="steps to compare; 0 for none")
    parser.add_argument("--device", choices=["cpu", "gpu"])
    parser.add_argument("--out", help="folder for the histories and the plots")
    given = vars(parser.parse_args(arguments))
    default = DEFAULTS[given["experiment"]]
    return default._replace(**{n: v for n, v in given.items() if v is not None})


if __name__ == "__main__":
    main(parse())
