"""Fine-tuning a pretrained ResNet-18 on a new task with few examples.

    python examples/fine_tune.py

ResNet-18 is trained on the MNIST digits 0 to 4, and then, with a new head, on 20 images
each of 5 to 9, in three ways: from scratch, the head alone, and all of it with frozen
batch norms. That takes minutes on two CPU cores. `--out` gets the pretrained model, a
history for each way, `curves.png`, and `wrong.png`: test images with mistakes.
"""

import argparse
from pathlib import Path
from typing import NamedTuple, get_args

import mlx.core as mx
import numpy as np

from lucid_fn import (
    data,
    losses,
    metrics,
    models,
    nn,
    optim,
    plot,
    random,
    train,
    tree,
)

MNIST = Path(__file__).parent / "data" / "mnist"
ACCURACY = {"accuracy": metrics.accuracy}


class Config(NamedTuple):
    data: str = str(MNIST)
    pretraining_images: int = 6000
    images_per_class: int = 20
    test_images: int = 1000
    epochs: int = 10
    batch_size: int = 20
    seed: int = 42
    steps: int | None = None
    out: str = "out/fine_tune"


def digits(images, labels, wanted: range, count: int, *, each: bool = False):
    """Images `(N, 28, 28, 3)` of the `wanted` digits, and their labels from 0 on."""
    rows = [np.flatnonzero(labels == digit) for digit in wanted]
    if each:  # `count` images of each digit, otherwise of all together
        chosen = np.concatenate([found[:count] for found in rows])
    else:
        chosen = np.sort(np.concatenate(rows))[:count]
    pixels = np.repeat(images[chosen], 3, axis=-1)
    labels = labels[chosen].astype(np.int32) - wanted.start
    return data.normalize(pixels, data.MNIST_MEAN, data.MNIST_STD), labels


def fit(config: Config, model, optimizer, ts, training, testing, epochs: int):
    loss = losses.softmax_cross_entropy
    return train.fit(
        ts,
        train.make_step(model, optimizer, loss, metrics=ACCURACY),
        lambda epoch: data.batches(
            training, config.batch_size, seed=(config.seed, epoch)
        ),
        epochs=epochs,
        evaluate=train.make_eval_step(model, loss, metrics=ACCURACY),
        test_batches=data.batches(testing, 200),
        max_steps=config.steps,
        config=config._asdict(),
    )


def pretrain(config: Config, dataset: data.Dataset, path: Path) -> None:
    old = range(5)
    training = digits(*dataset[:2], old, config.pretraining_images)
    testing = digits(*dataset[2:], old, config.test_images)
    model, optimizer = models.resnet18(5), optim.adam(1e-3)
    ts = train.init(model, optimizer, random.key(config.seed))
    large = config._replace(batch_size=100)
    ts, _ = fit(large, model, optimizer, ts, training, testing, epochs=1)
    train.save(path, ts)


def main(config: Config) -> dict[str, train.History]:
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    dataset = data.load_mnist(config.data)
    print("digits 0 to 4")
    pretrained = out / "pretrained.safetensors"
    pretrain(config, dataset, pretrained)

    new = range(5, 10)
    training = digits(*dataset[:2], new, config.images_per_class, each=True)
    testing = digits(*dataset[2:], new, config.test_images)
    backbone = models.backbone(models.resnet18())
    frozen_norms = nn.freeze_batch_norm(backbone)
    adam = optim.adam(1e-3)
    head_only = optim.partition(
        {"head": adam, "backbone": optim.freeze()}, lambda path: path.partition(".")[0]
    )
    runs, rows, logits = {}, [], mx.array(0)
    for name, body, optimizer in (
        ("from scratch", backbone, adam),
        ("head alone", nn.frozen(backbone), head_only),
        ("all, norms frozen", frozen_norms, adam),
    ):
        print(f"\ndigits 5 to 9: {name}")
        model = nn.serial(backbone=body, head=nn.linear(512, 5))
        ts = train.init(model, optimizer, random.key(config.seed))
        if name != "from scratch":
            like = ts.params["backbone"], ts.state["backbone"]
            (params, state), _ = train.load_params(pretrained, like=like)
            ts = ts._replace(
                params={**ts.params, "backbone": params}, state={"backbone": state}
            )
        ts, runs[name] = fit(
            config, model, optimizer, ts, training, testing, config.epochs
        )
        if runs[name].interrupted:
            return runs
        runs[name].to_json(out / f"{name.replace(' ', '_')}.json")
        trained = ts.params["head"] if optimizer is head_only else ts.params
        rows.append((name, tree.size(trained), runs[name].epochs[-1]))
        logits, _ = model.apply(ts.params, ts.state, mx.array(testing[0]), train=False)

    print(f"\n{'':20}{'trained params':>16}{'train accuracy':>16}{'test accuracy':>15}")
    for name, trained, last in rows:
        accuracies = last["train_accuracy"], last["test_accuracy"]
        print(f"{name:20}{trained:16,}{accuracies[0]:16.3f}{accuracies[1]:15.3f}")
    wrong = np.flatnonzero(np.array(mx.argmax(logits, axis=-1)) != testing[1])[:48]
    pixels = testing[0][wrong] * data.MNIST_STD + data.MNIST_MEAN
    plot.images(pixels, out / "wrong.png", columns=16, title=f"mistakes: {name}")
    plot.compare(runs, out / "curves.png", title="ResNet-18 on 100 images of 5 to 9")
    print(f"wrote {out / 'curves.png'}, {out / 'wrong.png'} and the histories")
    return runs


def parse(arguments: list[str] | None = None) -> Config:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, kind in Config.__annotations__.items():
        kind = next(iter(get_args(kind)), kind)  # int of int | None
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind)
    given = vars(parser.parse_args(arguments))
    return Config(**{name: v for name, v in given.items() if v is not None})


if __name__ == "__main__":
    main(parse())
