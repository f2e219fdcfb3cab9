"""A U-Net that segments handwritten digits in photographs.

    python examples/segmentation.py

An MNIST digit in a random color is pasted on each of 2,000 CIFAR-10 photographs, and
each pixel is classified as background or one of ten digits. It takes minutes on two CPU
cores. `--out` gets a history, `curves.png`, and `pictures.png`: test scenes, the truth
and the prediction.
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
    optim,
    plot,
    random,
    schedules,
    train,
    tree,
)

DATA = Path(__file__).parent / "data"
CLASSES = 11  # the background, and the digits
SIDE = 40
COLORS = "000000 e6194b 3cb44b ffe119 4363d8 f58231 911eb4 42d4f4 f032e6 bfef45 9a6324"


class Config(NamedTuple):
    data: str = str(DATA)
    train_scenes: int = 2000
    test_scenes: int = 250
    epochs: int = 16
    batch_size: int = 16
    learning_rate: float = 5e-3
    width: int = 12
    depth: int = 3
    seed: int = 42
    steps: int | None = None
    out: str = "out/segmentation"


def scenes(photos, digits, labels, count: int, seed: int):
    """Scenes `(N, 40, 40, 3)`, uint8, and the class of each pixel `(N, 40, 40)`."""
    rng = np.random.default_rng(seed)
    enlarged = photos[np.arange(count) % len(photos)].repeat(2, 1).repeat(2, 2)
    images = enlarged[:, 12 : 12 + SIDE, 12 : 12 + SIDE].astype(np.float32)
    masks = np.zeros((count, SIDE, SIDE), np.int32)
    for image, mask in zip(images, masks, strict=True):
        i, (top, left) = rng.integers(len(digits)), rng.integers(0, SIDE - 28 + 1, 2)
        window = np.s_[top : top + 28, left : left + 28]
        ink = digits[i] / 255  # (28, 28, 1)
        image[window] += ink * (rng.integers(0, 256, 3) - image[window])
        mask[window][ink[..., 0] > 0.5] = labels[i] + 1
    return images.astype(np.uint8), masks


def colored(classes) -> np.ndarray:
    """A color for each class: `(N, H, W)` to `(N, H, W, 3)`."""
    palette = [list(bytes.fromhex(color)) for color in COLORS.split()]
    return np.array(palette, np.uint8)[np.array(classes)]


def loss(logits: mx.array, classes: mx.array) -> mx.array:
    """Cross-entropy with a smaller weight for the background, most of the pixels."""
    weight = mx.array([0.2] + [1.0] * (CLASSES - 1))
    return losses.cross_entropy(logits, classes, weight=weight)


def main(config: Config) -> train.History:
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    photos = data.load_cifar10(Path(config.data) / "cifar10")
    digits = data.load_mnist(Path(config.data) / "mnist")
    images, masks = scenes(photos[0], *digits[:2], config.train_scenes, seed=0)
    test_images, test_masks = scenes(photos[2], *digits[2:], config.test_scenes, seed=1)
    x, x_test = (data.normalize(part, 0.5, 0.25) for part in (images, test_images))

    model = models.unet(CLASSES, width=config.width, depth=config.depth)
    total_steps = config.epochs * -(-len(x) // config.batch_size)
    optimizer = optim.adamw(
        schedules.one_cycle(config.learning_rate, total_steps=total_steps)
    )
    evaluate = train.make_eval_step(model, loss, metrics={"accuracy": metrics.accuracy})
    testing = data.batches((x_test, test_masks), 25)
    ts, history = train.fit(
        train.init(model, optimizer, random.key(config.seed)),
        train.make_step(model, optimizer, loss, metrics={"accuracy": metrics.accuracy}),
        lambda epoch: data.batches(
            (x, masks), config.batch_size, seed=(config.seed, epoch)
        ),
        epochs=config.epochs,
        evaluate=evaluate,
        test_batches=testing,
        max_steps=config.steps,
        history_path=out / "history.json",
        config=config._asdict(),
    )
    if not history.epochs:  # interrupted in the first epoch
        return history
    _, logits = train.evaluate(ts, evaluate, testing, outputs=True)
    found = mx.argmax(logits, axis=-1)
    counts = metrics.confusion_matrix(found, mx.array(test_masks), num_classes=CLASSES)
    counts = np.array(counts, np.float64)
    both, truth, predicted = np.diag(counts), counts.sum(1), counts.sum(0)
    iou = both / np.maximum(truth + predicted - both, 1)  # intersection over union
    recall = both / np.maximum(truth, 1)
    print(f"\n{'class':12}{'pixels':>10}{'recall':>8}{'IoU':>8}")
    for i in range(CLASSES):
        name = f"digit {i - 1}" if i else "background"
        print(f"{name:12}{truth[i]:10,.0f}{recall[i]:8.3f}{iou[i]:8.3f}")
    print(f"mean of classes: IoU {iou.mean():.3f}; parameters {tree.size(ts.params):,}")
    shown = [part[:12] for part in (test_images, colored(test_masks), colored(found))]
    title = "test scenes, the truth, and the prediction"
    plot.images(np.concatenate(shown), out / "pictures.png", columns=12, title=title)
    plot.curves(history, out / "curves.png", title="U-Net on digits in photographs")
    print(f"wrote {out / 'curves.png'}, {out / 'pictures.png'} and the history")
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
