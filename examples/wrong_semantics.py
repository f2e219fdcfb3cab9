"""Five wrong semantics, one at a time, compared with PyTorch's.

    python examples/wrong_semantics.py
    python examples/wrong_semantics.py --only adam_eps --steps 200

Each was found in a framework whose curves differed from PyTorch's. A small network with
batch norm trains twice on the sample of CIFAR-10 beside this file: with the right
semantics, and with one of them wrong. The output is the first quantity that differs by
more than rounding, the losses of the first batch and of the last ten, and the loss and
the accuracy on the test images. `docs/why_the_gap.md` explains the results.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx

import lucid_fn as lf
from lucid_fn import data, losses, metrics, nn, optim, random, train
from lucid_fn.interop import compare

SAMPLE = Path(__file__).parent / "data" / "cifar10"
WEIGHT_DECAY = 5e-4


class Config(NamedTuple):
    only: str | None = None
    steps: int = 200
    epochs: int = 1000  # `steps` ends the run sooner
    out: str | None = None
    batch_size: int = 32
    seed: int = 42
    device: str = "default"


class Semantics(NamedTuple):
    """The parts of a training run that can be wrong."""

    weight_init: Callable = nn.initializers.uniform_by_fan_in
    norm: Callable[[int], nn.Layer] = nn.batch_norm
    optimizer: Callable[[], optim.GradientTransformation] = lambda: optim.adam(
        1e-3, weight_decay=WEIGHT_DECAY
    )
    loss: Callable = losses.softmax_cross_entropy


def large_uniform(key, shape):
    """Bound sqrt(6 / fan_in) where PyTorch's default has 1 / sqrt(fan_in)."""
    bound = math.sqrt(6 / nn.initializers.fans(shape)[0])
    return random.uniform(key, shape, low=-bound, high=bound)


def biased_batch_norm(num_features):
    """The running variance without the factor n / (n - 1)."""
    right, momentum = nn.batch_norm(num_features), 0.1

    def apply(params, state, x, /, *, train, key=None):
        y, moved = right.apply(params, state, x, train=train, key=key)
        if train:
            n = x.size // num_features
            kept = (1 - momentum) * state["running_var"]
            added = (moved["running_var"] - kept) * ((n - 1) / n)
            moved = {**moved, "running_var": kept + added}
        return y, moved

    return nn.Layer(right.init, apply)


def adam_with_raw_eps():
    """`eps` added to the root before its bias correction, not after."""
    b1, b2, eps, rate = 0.9, 0.999, 1e-8, 1e-3

    def init(params):
        zeros = lf.tree.zeros_like(params)
        return mx.array(0, mx.int32), zeros, zeros

    def update(grads, opt_state, params):
        step, mu, nu = opt_state
        step = step + 1
        mu = lf.tree.map(lambda m, g: b1 * m + (1 - b1) * g, mu, grads)
        nu = lf.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, nu, grads)
        scale = rate * mx.sqrt(1 - b2**step) / (1 - b1**step)
        updates = lf.tree.map(lambda m, v: -scale * m / (mx.sqrt(v) + eps), mu, nu)
        return updates, (step, mu, nu)

    raw = optim.GradientTransformation(init, update)
    return optim.chain(optim.add_decayed_weights(WEIGHT_DECAY), raw)


def sgd():
    return optim.sgd(0.05, momentum=0.9, weight_decay=WEIGHT_DECAY)


def sgd_with_bare_first_buffer():
    """The first momentum buffer without the weight-decay term."""
    right = sgd()

    def init(params):
        return mx.array(0, mx.int32), right.init(params)

    def update(grads, opt_state, params):
        step, inner = opt_state
        # In the first step, cancel the weight decay that `right` adds.
        decay = mx.where(step == 0, WEIGHT_DECAY, 0.0)
        grads = lf.tree.map(lambda g, p: g - decay * p, grads, params)
        updates, inner = right.update(grads, inner, params)
        return updates, (step + 1, inner)

    return optim.GradientTransformation(init, update)


def log_of_softmax(logits, labels):
    """-log(softmax + 1e-7): 16.1 at most, and no gradient there."""
    at_label = mx.take_along_axis(mx.softmax(logits, axis=-1), labels[:, None], axis=1)
    return -mx.log(at_label[:, 0] + 1e-7)


RIGHT, SGD = Semantics(), Semantics(optimizer=sgd)
CASES = {
    "init": (RIGHT, RIGHT._replace(weight_init=large_uniform)),
    "running_var": (RIGHT, RIGHT._replace(norm=biased_batch_norm)),
    "adam_eps": (RIGHT, RIGHT._replace(optimizer=adam_with_raw_eps)),
    "first_momentum": (SGD, SGD._replace(optimizer=sgd_with_bare_first_buffer)),
    "log_softmax": (RIGHT, RIGHT._replace(loss=log_of_softmax)),
}


def network(semantics: Semantics) -> nn.Layer:
    def conv(in_channels, channels):
        options = {"padding": 1, "bias": False, "weight_init": semantics.weight_init}
        return nn.conv2d(in_channels, channels, 3, **options)

    return nn.serial(
        conv1=conv(3, 16),
        bn1=semantics.norm(16),
        relu1=nn.relu,
        pool1=nn.max_pool2d(4),  # (N, 8, 8, 16)
        conv2=conv(16, 32),
        bn2=semantics.norm(32),
        relu2=nn.relu,
        pool2=nn.max_pool2d(4),  # (N, 2, 2, 32)
        flatten=nn.flatten,
        fc=nn.linear(128, 10, weight_init=semantics.weight_init),
    )


def run(semantics, config, training, testing):
    """Train, and return the record."""
    model, optimizer = network(semantics), semantics.optimizer()
    extra = {"accuracy": metrics.accuracy}
    return train.fit(
        train.init(model, optimizer, random.key(config.seed)),
        train.make_step(model, optimizer, semantics.loss, metrics=extra),
        lambda epoch: data.batches(
            training, config.batch_size, seed=(config.seed, epoch), drop_last=True
        ),
        epochs=config.epochs,
        evaluate=train.make_eval_step(model, semantics.loss, metrics=extra),
        test_batches=data.batches(testing, 250),
        max_steps=config.steps,
        show=False,
    )[1]


def first_gap(right, wrong, config, training, steps=20):
    """The first difference in `steps` steps; all but the first share their weights."""
    models = network(right), network(wrong)
    optimizers = right.optimizer(), wrong.optimizer()
    key = random.key(config.seed)
    ours, theirs = (
        train.init(*pair, key) for pair in zip(models, optimizers, strict=True)
    )
    batches = data.batches(training, config.batch_size, seed=(config.seed, 0))

    records = ([], [])
    for _, (x, labels) in zip(range(steps), batches, strict=False):
        after, record = compare.record_step(
            models[0], optimizers[0], right.loss, ours, x, labels
        )
        records[0].append(record)
        theirs, other = compare.record_step(
            models[1], optimizers[1], wrong.loss, theirs, x, labels,
            grads=record["gradient"],
        )  # fmt: skip
        records[1].append(other)
        ours = after
        theirs = theirs._replace(params=after.params, state=after.state)
    return compare.first_gap(*records)


def main(config: Config) -> dict[str, tuple]:
    if config.device != "default":
        mx.set_default_device(mx.Device(getattr(mx, config.device)))
    dataset = data.load_cifar10(SAMPLE)
    x_train, x_test = (
        data.normalize(images, data.CIFAR10_MEAN, data.CIFAR10_STD)
        for images in (dataset.train_images, dataset.test_images)
    )
    training = (x_train, dataset.train_labels)
    testing = (x_test, dataset.test_labels)

    results, known = {}, {}
    for name, pair in CASES.items():
        if config.only not in (None, name):
            continue
        gap = first_gap(*pair, config, training)
        runs = []
        for semantics in pair:
            if semantics not in known:
                known[semantics] = run(semantics, config, training, testing)
            runs.append(known[semantics])
        results[name] = (gap, *runs)
        print(f"\n{name}: {(pair_doc(*pair) or '').strip()}")
        print(f"  first gap: {gap or 'none in 20 steps'}")
        for label, history in zip(("right", "wrong"), runs, strict=True):
            batch, last = history.batch_losses, history.epochs[-1]
            print(
                f"  {label}  first batch {batch[0]:7.4f}   last ten "
                f"{sum(batch[-10:]) / 10:7.4f}   test {last['test_loss']:7.4f}   "
                f"accuracy {last['test_accuracy']:.3f}"
            )
            if config.out is not None:
                Path(config.out).mkdir(parents=True, exist_ok=True)
                history.to_json(Path(config.out) / f"{name}_{label}.json")
    return results


def pair_doc(right: Semantics, wrong: Semantics) -> str | None:
    """The docstring of the part that differs."""
    return next(b.__doc__ for a, b in zip(right, wrong, strict=True) if a is not b)


def parse(arguments: list[str] | None = None) -> Config:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(CASES))
    parser.add_argument("--steps", type=int)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--device", choices=["cpu", "gpu"])
    parser.add_argument("--out", help="folder for the histories")
    given = vars(parser.parse_args(arguments))
    return Config(**{name: v for name, v in given.items() if v is not None})


if __name__ == "__main__":
    main(parse())
