"""LeNet-5 on MNIST by hand: plain functions, `lf.jit` and `lf.value_and_grad`.

    python examples/lenet_from_scratch.py

The same task, hyperparameters and output as in `lenet_mnist.py`, with its library calls
written out.
"""

import argparse
import json
import math
import time
from pathlib import Path

import mlx.core as mx
import numpy as np

import lucid_fn as lf
from lucid_fn import data, ops

MNIST = Path(__file__).parent / "data" / "mnist"


def init(key):
    """PyTorch's default: weights and biases uniform in +-1/sqrt(fan_in)."""
    shapes = {
        "conv1": (6, 5, 5, 1),
        "conv2": (16, 5, 5, 6),
        "fc1": (120, 256),
        "fc2": (84, 120),
        "fc3": (10, 84),
    }
    params = {}
    for name, shape in shapes.items():
        key, weight_key, bias_key = mx.random.split(key, 3)
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        params[name] = {
            "weight": mx.random.uniform(-bound, bound, shape, key=weight_key),
            "bias": mx.random.uniform(-bound, bound, shape[:1], key=bias_key),
        }
    return params


def apply(params, x):
    def conv(name, x):
        return ops.conv2d(x, params[name]["weight"], params[name]["bias"])

    def linear(name, x):
        return x @ params[name]["weight"].T + params[name]["bias"]

    x = ops.avg_pool2d(ops.tanh(conv("conv1", x)), 2)  # (N, 12, 12, 6)
    x = ops.avg_pool2d(ops.tanh(conv("conv2", x)), 2)  # (N, 4, 4, 16)
    x = x.reshape(x.shape[0], -1)  # (N, 256)
    x = ops.tanh(linear("fc1", x))
    x = ops.tanh(linear("fc2", x))
    return linear("fc3", x)


def loss_and_accuracy(params, x, labels):
    logits = apply(params, x)
    at_label = mx.take_along_axis(logits, labels[:, None], axis=1).squeeze(1)
    loss = ops.mean(mx.logsumexp(logits, axis=1) - at_label)
    accuracy = ops.mean(mx.argmax(logits, axis=1) == labels)
    return loss, accuracy


@lf.jit
def step(params, velocity, x, labels, learning_rate, momentum):
    value_and_grad = lf.value_and_grad(loss_and_accuracy, has_aux=True)
    (loss, accuracy), grads = value_and_grad(params, x, labels)
    velocity = {
        layer: {
            name: momentum * velocity[layer][name] + grad for name, grad in of.items()
        }
        for layer, of in grads.items()
    }
    params = {
        layer: {
            name: p - learning_rate * velocity[layer][name] for name, p in of.items()
        }
        for layer, of in params.items()
    }
    return params, velocity, loss, accuracy


evaluate = lf.jit(loss_and_accuracy)


def mean(values, sizes):
    """The mean over an epoch, weighted by batch size."""
    return float(np.average([value.item() for value in values], weights=sizes))


def main(config):
    start = time.perf_counter()
    if config.device is not None:
        mx.set_default_device(mx.Device(getattr(mx, config.device)))
    if config.out is not None:  # fail before training, not after it
        Path(config.out).mkdir(parents=True, exist_ok=True)
    dataset = data.load_mnist(MNIST)
    x_train = data.normalize(dataset.train_images, data.MNIST_MEAN, data.MNIST_STD)
    x_test = data.normalize(dataset.test_images, data.MNIST_MEAN, data.MNIST_STD)

    params = init(mx.random.key(config.seed))
    velocity = {
        layer: {name: mx.zeros_like(array) for name, array in arrays.items()}
        for layer, arrays in params.items()
    }
    history = []
    done = 0
    for epoch in range(config.epochs):
        epoch_start = time.perf_counter()
        order = np.random.default_rng((config.seed, epoch)).permutation(len(x_train))
        losses, accuracies, sizes = [], [], []
        for first in range(0, len(order), config.batch_size):
            if done == config.steps:
                break
            rows = order[first : first + config.batch_size]
            params, velocity, loss, accuracy = step(
                params,
                velocity,
                x_train[rows],
                dataset.train_labels[rows],
                config.learning_rate,
                config.momentum,
            )
            losses.append(loss)
            accuracies.append(accuracy)
            sizes.append(len(rows))
            done += 1
        record = {
            "train_loss": mean(losses, sizes),
            "train_accuracy": mean(accuracies, sizes),
        }
        tests = [
            evaluate(params, x_test[i : i + 1000], dataset.test_labels[i : i + 1000])
            for i in range(0, len(x_test), 1000)
        ]
        record["test_loss"] = mean([loss for loss, _ in tests], [1000] * len(tests))
        record["test_accuracy"] = mean([a for _, a in tests], [1000] * len(tests))
        history.append(record)
        print(
            f"epoch {epoch + 1:2d}/{config.epochs}  "
            f"train loss {record['train_loss']:.4f} "
            f"accuracy {record['train_accuracy']:.4f}  "
            f"test loss {record['test_loss']:.4f} "
            f"accuracy {record['test_accuracy']:.4f}  "
            f"lr {config.learning_rate:.4g}  {time.perf_counter() - epoch_start:.1f} s",
            flush=True,
        )
        if done == config.steps:
            break

    parameters = sum(a.size for arrays in params.values() for a in arrays.values())
    print(f"""
            loss    accuracy
train     {record["train_loss"]:.4f}     {record["train_accuracy"]:.4f}
test      {record["test_loss"]:.4f}     {record["test_accuracy"]:.4f}

parameters {parameters:,}, {time.perf_counter() - start:.1f} s in all""")
    if config.out is not None:
        path = Path(config.out) / "history.json"
        path.write_text(json.dumps(history, indent=1))
        print(f"wrote {path}")
    return history


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--steps", type=int, help="stop after this many")
    parser.add_argument("--device", choices=["cpu", "gpu"])
    parser.add_argument("--out", help="folder for history.json")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main(parse())
