"""Eight LeNets on MNIST at once: a sweep over keys and hyperparameters.

    python examples/sweep.py --out out/sweep

The training step is written for one model. `lf.vmap` turns it into a step of eight,
each with its own key, learning rate, momentum and weight decay, which are leaves of its
`TrainState`. `--one-by-one` trains the same models one by one, and `--out` gets
`sweep.json` and `sweep.png`.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

import lucid_fn as lf
from lucid_fn import data, losses, metrics, models, optim, random, train, tree

MNIST = Path(__file__).parent / "data" / "mnist"
# One value per model.
LEARNING_RATES = [0.003, 0.01, 0.02, 0.05, 0.003, 0.01, 0.02, 0.05]
MOMENTA = [0.9, 0.9, 0.9, 0.9, 0.95, 0.8, 0.5, 0.0]
WEIGHT_DECAYS = [0.0, 1e-4, 1e-3, 5e-4, 0.0, 1e-4, 1e-3, 5e-4]


class Config(NamedTuple):
    data: str = str(MNIST)
    epochs: int = 1
    test_images: int = 10_000
    seed: int = 42
    steps: int | None = None
    one_by_one: bool = False
    out: str | None = None


def main(config: Config) -> train.TrainState:
    """Train the models; each leaf of the state has a leading axis of models."""
    dataset = data.load_mnist(config.data)
    x_train = data.normalize(dataset.train_images, data.MNIST_MEAN, data.MNIST_STD)
    x_test = data.normalize(dataset.test_images, data.MNIST_MEAN, data.MNIST_STD)

    model = models.lenet5()
    loss, accuracy = losses.softmax_cross_entropy, {"accuracy": metrics.accuracy}

    def init(key: Any, learning_rate: Any, momentum: Any, decay: Any) -> Any:
        optimizer = optim.inject(
            optim.sgd, learning_rate, momentum=momentum, weight_decay=decay
        )
        return train.init(model, optimizer, key)

    keys = random.split(random.key(config.seed), len(LEARNING_RATES))
    numbers = map(mx.array, (LEARNING_RATES, MOMENTA, WEIGHT_DECAYS))
    ts = lf.vmap(init)(keys, *numbers)

    # The hyperparameters are read from the state; these values are not used.
    optimizer = optim.inject(optim.sgd, 0.0, momentum=0.0, weight_decay=0.0)
    step = train.make_step(model, optimizer, loss)
    evaluate = train.make_eval_step(model, loss, metrics=accuracy)
    if config.one_by_one:
        step, evaluate = one_by_one(step), one_by_one(evaluate)
    else:
        step = lf.jit(lf.vmap(step, in_axes=(0, None, None)))
        evaluate = lf.jit(lf.vmap(evaluate, in_axes=(0, None, None)))

    start, history = time.perf_counter(), []
    for epoch in range(config.epochs):
        order = (config.seed, epoch)
        training = (x_train, dataset.train_labels)
        for x, labels in data.batches(training, 64, seed=order):
            if len(history) == config.steps:
                break
            ts, values = step(ts, x, labels)
            history.append(values["loss"])
    curves = np.array(mx.stack(history))  # (steps, models); waits for the last step
    seconds = time.perf_counter() - start

    some = slice(config.test_images)
    testing = data.batches((x_test[some], dataset.test_labels[some]), 1000)
    values = [evaluate(ts, x, labels)["accuracy"] for x, labels in testing]
    accuracies = mx.mean(mx.stack(values), axis=0).tolist()
    print("learning rate  momentum  weight decay    loss    test accuracy")
    columns = LEARNING_RATES, MOMENTA, WEIGHT_DECAYS, curves[-100:].mean(0), accuracies
    for rate, momentum, decay, mean, test in zip(*columns, strict=True):
        print(f"{rate:13} {momentum:9} {decay:13} {mean:7.4f} {test:16.4f}")
    print(f"\n{len(curves)} steps of {len(accuracies)} models in {seconds:.1f} s")
    if config.out is not None:
        out = Path(config.out)
        out.mkdir(parents=True, exist_ok=True)
        result = {"losses": curves.tolist(), "accuracies": accuracies}
        (out / "sweep.json").write_text(json.dumps(result))
        draw(curves, out / "sweep.png")
        print(f"wrote {out / 'sweep.json'} and {out / 'sweep.png'}")
    return ts


def one_by_one(fn: Any) -> Any:
    """Apply `fn` to one model after the other, and stack the results."""

    def run(ts: train.TrainState, x: Any, labels: Any) -> Any:
        each = [
            fn(tree.map(lambda leaf, i=i: leaf[i], ts), x, labels)
            for i in range(len(LEARNING_RATES))
        ]
        return tree.map(lambda *leaves: mx.stack(leaves), *each)

    return run


def draw(losses: np.ndarray, path: Path) -> None:
    """The loss of each model, their median, and the band between the quartiles."""
    import matplotlib.pyplot as plt

    window = max(1, len(losses) // 50)
    weights = np.ones(window) / window
    smooth = np.stack([np.convolve(run, weights, "valid") for run in losses.T])
    steps = np.arange(window, len(losses) + 1)
    low, middle, high = np.quantile(smooth, [0.25, 0.5, 0.75], axis=0)
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axes.plot(steps, smooth.T, color="tab:blue", alpha=0.25, linewidth=0.8)
    axes.fill_between(steps, low, high, alpha=0.3, label="25 % to 75 % of the models")
    axes.plot(steps, middle, color="tab:blue", label="median of 8 LeNets")
    axes.set(yscale="log", xlabel="step", ylabel=f"loss, mean of {window} batches")
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)


def parse(arguments: list[str] | None = None) -> Config:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with the four IDX files")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--test-images", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--steps", type=int, help="stop after this many")
    parser.add_argument("--one-by-one", action="store_true", help="for comparison")
    parser.add_argument("--out", help="folder for sweep.json and sweep.png")
    given = vars(parser.parse_args(arguments))
    return Config(**{name: v for name, v in given.items() if v is not None})


if __name__ == "__main__":
    main(parse())
