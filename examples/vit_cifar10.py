"""A vision transformer on CIFAR-10, with the training recipe that it needs.

    python examples/vit_cifar10.py
    python examples/vit_cifar10.py --data ~/cifar10 --epochs 100

The recipe: random crops, flips and colors, mixup or cutmix, a cosine schedule with
warm-up, weight decay, and an average of the params, which is evaluated; the best epoch
is kept. By default it trains on the sample of 2,000 + 500 images beside this file,
which takes minutes on two CPU cores; `--data` is a folder with all of CIFAR-10. `--out`
gets a history, `best.safetensors`, `curves.png`, and `batch.png`: augmented images.
"""

import argparse
from pathlib import Path
from typing import NamedTuple, get_args

import mlx.core as mx
import numpy as np

import lucid_fn as lf
from lucid_fn import data, losses, metrics, models, optim, plot, random, train, tree
from lucid_fn.schedules import warmup_cosine

SAMPLE = Path(__file__).parent / "data" / "cifar10"
CLASSES = "airplane auto bird cat deer dog frog horse ship truck"


class Config(NamedTuple):
    data: str = str(SAMPLE)
    epochs: int = 20
    batch_size: int = 50
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    ema: float = 0.99
    patch_size: int = 4
    num_layers: int = 4
    num_heads: int = 4
    hidden_dim: int = 96
    seed: int = 42
    steps: int | None = None
    out: str = "out/vit_cifar10"


@lf.jit
def augment(key: mx.array, images: mx.array, labels: mx.array):
    """An augmented batch: normalized images, and probabilities as targets."""
    keys = random.split(key, 5)
    images = data.random_flip(keys[0], data.random_crop(keys[1], images))
    images = images.astype(mx.float32) / 255
    images = data.color_jitter(keys[2], images, brightness=0.2, contrast=0.2)
    images = (images - mx.array(data.CIFAR10_MEAN)) / mx.array(data.CIFAR10_STD)
    mixed = data.mixup(keys[3], images, labels, num_classes=10, alpha=0.2)
    cut = data.cutmix(keys[3], images, labels, num_classes=10)
    either = random.bernoulli(keys[4])
    return tuple(mx.where(either, a, b) for a, b in zip(mixed, cut, strict=True))


def main(config: Config) -> train.History:
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    dataset = data.load_cifar10(config.data)
    training = dataset.train_images, dataset.train_labels.astype(np.int32)
    x_test = data.normalize(dataset.test_images, data.CIFAR10_MEAN, data.CIFAR10_STD)
    key = random.key(config.seed)

    def batches(epoch: int):
        epoch_key = random.fold_in(random.fold_in(key, "augment"), epoch)
        cut = data.batches(training, config.batch_size, seed=(config.seed, epoch))
        for i, (images, labels) in enumerate(cut):
            yield augment(random.fold_in(epoch_key, i), images, labels)

    model = models.vit(
        10,
        image_size=32,
        patch_size=config.patch_size,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        hidden_dim=config.hidden_dim,
        mlp_dim=2 * config.hidden_dim,
    )
    steps_per_epoch = -(-len(dataset.train_images) // config.batch_size)
    total_steps = config.epochs * steps_per_epoch
    warmup = total_steps // 10
    rate = warmup_cosine(
        config.learning_rate, warmup_steps=warmup, total_steps=total_steps
    )
    optimizer = optim.chain(
        optim.clip_by_global_norm(1.0),
        optim.adamw(rate, weight_decay=config.weight_decay),
        optim.param_ema(config.ema),
    )
    measure = train.make_eval_step(
        model, losses.softmax_cross_entropy, metrics={"accuracy": metrics.accuracy}
    )

    def evaluate(ts, x, labels, **options):
        ts = ts._replace(params=optim.averaged_params(ts.opt_state))
        return measure(ts, x, labels, **options)

    best = out / "best.safetensors"
    testing = data.batches((x_test, dataset.test_labels), 250)
    ts, history = train.fit(
        train.init(model, optimizer, key),
        train.make_step(model, optimizer, losses.soft_target_cross_entropy),
        batches,
        epochs=config.epochs,
        evaluate=evaluate,
        test_batches=testing,
        on_epoch=train.keep_best(best, "test_accuracy"),
        max_steps=config.steps,
        history_path=out / "history.json",
        config=config._asdict(),
    )
    if not history.epochs:  # interrupted in the first epoch
        return history
    ts = train.load(best, like=ts)
    values, logits = train.evaluate(ts, evaluate, testing, outputs=True)
    right = np.array(mx.argmax(logits, axis=-1)) == dataset.test_labels
    print(f"\n{'class':12}{'test images':>12}{'accuracy':>10}")
    for i, name in enumerate(CLASSES.split()):
        of_class = dataset.test_labels == i
        print(f"{name:12}{of_class.sum():12}{right[of_class].mean():10.3f}")
    print(f"{'all':12}{len(right):12}{values['accuracy']:10.3f}")
    epoch = train.load_metadata(best)["epoch"]
    print(f"\nbest epoch {epoch}, parameters {tree.size(ts.params):,}")
    images, _ = next(batches(0))
    images = images * mx.array(data.CIFAR10_STD) + mx.array(data.CIFAR10_MEAN)
    plot.images(images[:48], out / "batch.png", columns=12, title="augmented images")
    plot.curves(history, out / "curves.png", title="ViT on CIFAR-10")
    print(f"wrote {out / 'curves.png'}, {out / 'batch.png'} and {best}")
    return history


def parse(arguments: list[str] | None = None) -> Config:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, kind in Config.__annotations__.items():
        kind = next(iter(get_args(kind)), kind)  # int of int | None
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind)
    given = vars(parser.parse_args(arguments))
    return Config(**{name: v for name, v in given.items() if v is not None})


if __name__ == "__main__":
    main(parse())
