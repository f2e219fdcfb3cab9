"""One experiment in both frameworks: same arrays, initial weights and batch order.

    pip install torch
    python examples/compare_with_pytorch.py lenet --out out/compare_lenet

Prints a table of losses, accuracies and times, and the largest difference of any
parameter and of any batch's loss; `--out` gets both histories and `curves.png`.
"""

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx
import numpy as np
import torch

import lucid_fn as lf
from lucid_fn import data, losses, metrics, models, optim, plot, random, train, tree

MNIST = Path(__file__).parent / "data" / "mnist"


class Config(NamedTuple):
    experiment: str
    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 0.01
    momentum: float = 0.9
    seed: int = 42
    steps: int | None = None
    device: str = "default"
    out: str | None = None


def torch_lenet() -> torch.nn.Module:
    """The layers of `models.lenet5`, under the same names."""
    parts = {
        "conv1": torch.nn.Conv2d(1, 6, 5),
        "act1": torch.nn.Tanh(),
        "pool1": torch.nn.AvgPool2d(2),
        "conv2": torch.nn.Conv2d(6, 16, 5),
        "act2": torch.nn.Tanh(),
        "pool2": torch.nn.AvgPool2d(2),
        "flatten": torch.nn.Flatten(),
        "fc1": torch.nn.Linear(256, 120),
        "act3": torch.nn.Tanh(),
        "fc2": torch.nn.Linear(120, 84),
        "act4": torch.nn.Tanh(),
        "fc3": torch.nn.Linear(84, 10),
    }
    model = torch.nn.Sequential()
    for name, part in parts.items():
        model.add_module(name, part)
    return model


def to_torch(params: dict) -> dict[str, torch.Tensor]:
    """Our params under the same names in PyTorch's layout: channels come first."""
    arrays = {name: np.array(leaf) for name, leaf in tree.named_leaves(params).items()}
    for name in ("conv1.weight", "conv2.weight"):
        arrays[name] = arrays[name].transpose(0, 3, 1, 2)  # OHWI to OIHW
    # Its columns are a flattened feature map, (H, W, C) here and (C, H, W) there.
    maps = arrays["fc1.weight"].reshape(120, 4, 4, 16)
    arrays["fc1.weight"] = maps.transpose(0, 3, 1, 2).reshape(120, 256)
    return {name: torch.tensor(np.ascontiguousarray(a)) for name, a in arrays.items()}


def train_torch(config, model, batches, test_batches) -> train.History:
    """The loop of `train.fit`, with PyTorch."""
    optimizer = torch.optim.SGD(
        model.parameters(), lr=config.learning_rate, momentum=config.momentum
    )

    def tensors(x, labels):
        x = torch.from_numpy(np.array(x)).permute(0, 3, 1, 2)
        return x, torch.from_numpy(np.array(labels)).long()

    batch_losses, epochs = [], []
    for epoch in range(config.epochs):
        start = time.perf_counter()
        sums, size = np.zeros(2), 0
        model.train()
        for x, labels in (tensors(*batch) for batch in batches(epoch)):
            if len(batch_losses) == config.steps:
                break
            optimizer.zero_grad()
            logits = model(x)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            correct = (logits.argmax(1) == labels).sum().item()
            batch_losses.append(loss.item())
            sums += (loss.item() * len(x), correct)
            size += len(x)
        middle = time.perf_counter()
        record = {"epoch": epoch + 1, "train_seconds": middle - start}
        record["train_loss"], record["train_accuracy"] = (sums / size).tolist()
        sums, size = np.zeros(2), 0
        model.eval()
        with torch.no_grad():
            for x, labels in (tensors(*batch) for batch in test_batches):
                logits = model(x)
                loss = torch.nn.functional.cross_entropy(logits, labels).item()
                sums += (loss * len(x), (logits.argmax(1) == labels).sum().item())
                size += len(x)
        record["test_seconds"] = time.perf_counter() - middle
        record["test_loss"], record["test_accuracy"] = (sums / size).tolist()
        epochs.append(record)
        print(f"PyTorch   {lf.train.progress.epoch_line(record, config.epochs)}")
        if len(batch_losses) == config.steps:
            break
    environment = {"torch": torch.__version__, "threads": str(torch.get_num_threads())}
    return train.History(batch_losses, epochs, config._asdict(), environment, False)


def main(config: Config) -> dict[str, train.History]:
    if config.device != "default":
        mx.set_default_device(mx.Device(getattr(mx, config.device)))
    dataset = data.load_mnist(MNIST)
    x_train = data.normalize(dataset.train_images, data.MNIST_MEAN, data.MNIST_STD)
    x_test = data.normalize(dataset.test_images, data.MNIST_MEAN, data.MNIST_STD)
    test_batches = data.batches((x_test, dataset.test_labels), 1000)

    def batches(epoch):
        arrays = (x_train, dataset.train_labels)
        return data.batches(arrays, config.batch_size, seed=(config.seed, epoch))

    model = models.lenet5()
    optimizer = optim.sgd(config.learning_rate, momentum=config.momentum)
    loss, accuracy = losses.softmax_cross_entropy, {"accuracy": metrics.accuracy}
    ts = train.init(model, optimizer, random.key(config.seed))
    peer = torch_lenet()
    peer.load_state_dict(to_torch(ts.params))

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
    theirs = train_torch(config, peer, batches, test_batches)

    runs = {"lucid_fn": ours, "PyTorch": theirs}
    report(runs)
    differences = [
        np.abs(tensor.numpy() - peer.state_dict()[name].numpy()).max()
        for name, tensor in to_torch(ts.params).items()
    ]
    gaps = np.abs(np.subtract(ours.batch_losses, theirs.batch_losses))
    print(f"largest difference of a batch's loss: {gaps.max():.1e}", end="")
    print(f" (first 100 steps: {gaps[:100].max():.1e})")
    print(f"largest difference of a parameter at the end: {max(differences):.1e}")
    if config.out is not None:
        out = Path(config.out)
        out.mkdir(parents=True, exist_ok=True)
        for name, history in runs.items():
            history.to_json(out / f"{name.lower()}.json")
        plot.compare(runs, out / "curves.png", title="LeNet-5 on MNIST")
        print(f"wrote {out / 'curves.png'} and two histories")
    return runs


def report(runs: dict[str, train.History]) -> None:
    """One table: the last epoch, and the seconds of all."""
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
    parser.add_argument("experiment", choices=["lenet"])
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--momentum", type=float)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--steps", type=int, help="stop after so many in all")
    parser.add_argument("--device", choices=["cpu", "gpu"])
    parser.add_argument("--out", help="folder for the histories and curves.png")
    given = vars(parser.parse_args(arguments))
    return Config(**{name: v for name, v in given.items() if v is not None})


if __name__ == "__main__":
    main(parse())
