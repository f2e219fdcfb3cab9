"""ResNet-18 on CIFAR-10, with the library.

    python examples/resnet18_cifar10.py --data ~/cifar10 --out out/resnet18

The experiment is 20 epochs of Adam in batches of 128, once for each of two schedules:
the learning rate times 0.5 after every 5 epochs, and times 0.1 after every 10. Give
`--schedule 5 0.5` for one of them. `--data` is a folder with CIFAR-10 in any of its
formats; the default is the sample of 2,000 + 500 images beside this file, enough to see
it run. `--out` gets a history for each schedule and `curves.png`.

Each run resumes from `--checkpoint`, to which the name of its schedule is added. It is
written after each epoch, every `--checkpoint-every` steps, and on Ctrl-C or SIGTERM.
`python -m lucid_fn launch -n 2 ...` trains in two processes, whose batch norms use the
statistics of their own half of the batch.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx

from lucid_fn import (
    data,
    distributed,
    losses,
    metrics,
    models,
    optim,
    plot,
    random,
    schedules,
    train,
    tree,
)

SAMPLE = Path(__file__).parent / "data" / "cifar10"
BOTH = ((5, 0.5), (10, 0.1))


class Config(NamedTuple):
    data: str = str(SAMPLE)
    subset: int | None = None
    epochs: int = 20
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    schedule: tuple[tuple[int, float], ...] = BOTH
    augment: bool = False
    seed: int = 42
    steps: int | None = None
    device: str = "default"
    checkpoint: str | None = None
    checkpoint_every: int | None = None
    out: str | None = None


def augmented(batches: data.Batches, key: mx.array) -> Iterator[tuple]:
    """Randomly crop and flip the images of each batch."""
    for i, (images, labels) in enumerate(batches):
        crop_key, flip_key = random.split(random.fold_in(key, i))
        yield data.random_flip(flip_key, data.random_crop(crop_key, images)), labels


def run(config: Config, dataset: data.Dataset, step_size: int, gamma: float):
    """Train with one of the schedules."""
    x_train, x_test = (
        data.normalize(images, data.CIFAR10_MEAN, data.CIFAR10_STD)
        for images in (dataset.train_images, dataset.test_images)
    )
    training = (x_train, dataset.train_labels)
    group = distributed.init()
    shard = (group.rank, group.size)
    key = random.key(config.seed)

    def batches(epoch: int):
        seed = (config.seed, epoch)
        cut = data.batches(training, config.batch_size, seed=seed, shard=shard)
        if not config.augment:
            return cut
        augment_key = random.fold_in(random.fold_in(key, "augment"), epoch)
        return augmented(cut, random.fold_in(augment_key, group.rank))

    steps_per_epoch = -(-len(x_train) // config.batch_size)
    by_epoch = schedules.step_decay(
        config.learning_rate, step_size=step_size, gamma=gamma
    )
    rate = schedules.per_epoch(by_epoch, steps_per_epoch)
    optimizer = optim.adam(rate, weight_decay=config.weight_decay)
    model = models.cifar_resnet18()
    loss, accuracy = losses.softmax_cross_entropy, {"accuracy": metrics.accuracy}
    name, checkpoint = f"step{step_size}_gamma{gamma}", None
    if config.checkpoint is not None:
        path = Path(config.checkpoint)
        checkpoint = path.with_name(f"{path.stem}_{name}{path.suffix}")
    return train.fit(
        train.init(model, optimizer, key),
        train.make_step(model, optimizer, loss, metrics=accuracy, group=group),
        batches,
        epochs=config.epochs,
        evaluate=train.make_eval_step(model, loss, metrics=accuracy, group=group),
        test_batches=data.batches((x_test, dataset.test_labels), 250, shard=shard),
        max_steps=config.steps,
        checkpoint=checkpoint,
        checkpoint_every=config.checkpoint_every,
        history_path=config.out and Path(config.out) / f"{name}.json",
        config={**config._asdict(), "step_size": step_size, "gamma": gamma},
        group=group,
    )


def load(config: Config) -> data.Dataset:
    dataset = data.load_cifar10(config.data)
    if config.subset is None:
        return dataset
    if config.subset < 1:
        raise ValueError(f"--subset must be at least 1, got {config.subset}")
    return data.Dataset(*(array[: config.subset] for array in dataset))


def main(config: Config) -> dict[str, train.History]:
    if config.device != "default":
        mx.set_default_device(mx.Device(getattr(mx, config.device)))
    if config.out is not None:
        Path(config.out).mkdir(parents=True, exist_ok=True)
    dataset = load(config)
    shown = distributed.init().rank == 0
    if shown:
        print(f"{len(dataset.train_images):,} images to train, ", end="")
        print(f"{len(dataset.test_images):,} to test")

    runs = {}
    for step_size, gamma in config.schedule:
        name = f"x {gamma:g} every {step_size} epochs"
        if shown:
            print(f"\nlearning rate {config.learning_rate:g} {name}", flush=True)
        ts, history = run(config, dataset, step_size, gamma)
        if history.epochs:
            runs[name] = history
        if history.interrupted:
            break
    if shown and runs:
        report(config, runs, tree.size(ts.params))
    return runs


def report(config: Config, runs: dict[str, train.History], parameters: int) -> None:
    print(f"\n{'':24}train loss  accuracy   test loss  accuracy   s/epoch")
    for name, history in runs.items():
        last = history.epochs[-1]
        seconds = history.series("train_seconds")
        print(
            f"{name:24}{last['train_loss']:10.4f}{last['train_accuracy']:10.4f}"
            f"{last['test_loss']:12.4f}{last['test_accuracy']:10.4f}"
            f"{sum(seconds) / len(seconds):10.1f}"
        )
    print(f"\nparameters {parameters:,}")
    if config.out is not None:
        picture = Path(config.out) / "curves.png"
        plot.batch_and_epoch_losses(runs, picture, title="ResNet-18 on CIFAR-10")
        print(f"wrote {picture} and {len(runs)} histories")


def parse(arguments: list[str] | None = None) -> Config:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="folder with CIFAR-10; default: a sample")
    parser.add_argument(
        "--subset", type=int, help="train and test on this many images only"
    )
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--weight-decay", type=float)
    parser.add_argument(
        "--schedule",
        action="append",
        nargs=2,
        metavar=("STEP_SIZE", "GAMMA"),
        help="learning rate times GAMMA every STEP_SIZE epochs; default: 5 0.5 and "
        "10 0.1, a run each",
    )
    parser.add_argument("--augment", action="store_true", help="crop and flip images")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--steps", type=int, help="stop each run after this many")
    parser.add_argument("--device", choices=["cpu", "gpu"])
    parser.add_argument("--checkpoint", help=".safetensors file to resume from")
    parser.add_argument(
        "--checkpoint-every", type=int, help="save every this many steps"
    )
    parser.add_argument("--out", help="folder for the histories and curves.png")
    given = vars(parser.parse_args(arguments))
    if given["schedule"] is not None:
        given["schedule"] = tuple((int(s), float(g)) for s, g in given["schedule"])
    return Config(**{name: v for name, v in given.items() if v is not None})


if __name__ == "__main__":
    main(parse())
