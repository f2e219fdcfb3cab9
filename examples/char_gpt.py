"""A character-level GPT, trained on the first books of the King James Bible.

    python examples/char_gpt.py --out out/char_gpt

Four epochs of 200 steps take four minutes of processor time on two cores, and reach a
validation loss of 1.49 nats per character on the last tenth of the text. Then the model
continues a verse. `--out` gets `history.json`, `curves.png` and `sample.txt`.
"""

import argparse
import gzip
import math
import time
from pathlib import Path
from typing import NamedTuple

import mlx.core as mx
import numpy as np

from lucid_fn import (
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

TEXT = Path(__file__).parent / "data" / "text" / "kjv.txt.gz"
PROMPT = "And God said, "
Batches = list[tuple[np.ndarray, np.ndarray]]


class Config(NamedTuple):
    data: str = str(TEXT)
    epochs: int = 4  # of `steps` batches
    steps: int = 200
    batch_size: int = 16
    context: int = 128
    layers: int = 4
    heads: int = 4
    width: int = 128
    dropout: float = 0.0
    learning_rate: float = 3e-3
    temperature: float = 0.8
    seed: int = 42
    out: str | None = None


def read(path: str) -> tuple[np.ndarray, str]:
    """The text as token ids, and the alphabet that they index."""
    opened = gzip.open if path.endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as file:
        characters = np.array(list(file.read()))
    alphabet, tokens = np.unique(characters, return_inverse=True)
    return tokens.astype(np.int32), "".join(alphabet)


def windows(tokens: np.ndarray, starts: np.ndarray, config: Config) -> Batches:
    """Batches of windows from `starts` on, and of those one character later."""
    indices = starts[:, None] + np.arange(config.context + 1)
    cut = tokens[indices]  # (windows, context + 1)
    size = config.batch_size
    groups = [cut[i : i + size] for i in range(0, len(cut) - size + 1, size)]
    return [(group[:, :-1], group[:, 1:]) for group in groups]


def complete(params: dict, sizes: dict, alphabet: str, config: Config) -> str:
    """Complete the prompt with samples from the model until the context is full."""
    cache = (1, config.context)
    decoder = models.gpt(len(alphabet), config.context, **sizes, cache=cache)
    _, state = decoder.init(random.key(0))
    written, _ = models.generate(
        decoder,
        params,
        state,
        mx.array([[alphabet.index(character) for character in PROMPT]]),
        max_new_tokens=config.context - len(PROMPT),
        temperature=config.temperature,
        key=random.key(config.seed),
    )
    return "".join(alphabet[token] for token in written[0].tolist())


def main(config: Config) -> train.History:
    start = time.perf_counter()
    out = None if config.out is None else Path(config.out)
    if out is not None:  # fail before training, not after it
        out.mkdir(parents=True, exist_ok=True)
    tokens, alphabet = read(config.data)
    training, validation = np.split(tokens, [len(tokens) * 9 // 10])

    def batches(epoch: int) -> Batches:
        rng = np.random.default_rng((config.seed, epoch))
        count = config.steps * config.batch_size
        starts = rng.integers(0, len(training) - config.context, count)
        return windows(training, starts, config)

    sizes = {"num_layers": config.layers, "num_heads": config.heads}
    sizes |= {"d_model": config.width, "rate": config.dropout}
    model = models.gpt(len(alphabet), config.context, **sizes)
    total = config.epochs * config.steps
    peak, warmup = config.learning_rate, total // 20
    rate = schedules.warmup_cosine(peak, warmup_steps=warmup, total_steps=total)
    adamw = optim.adamw(rate, b2=0.99, weight_decay=0.1)
    optimizer = optim.chain(optim.clip_by_global_norm(1.0), adamw)
    loss, accuracy = losses.softmax_cross_entropy, {"accuracy": metrics.accuracy}
    starts = np.arange(0, len(validation) - config.context, config.context)
    ts, history = train.fit(
        train.init(model, optimizer, random.key(config.seed)),
        train.make_step(model, optimizer, loss, metrics=accuracy),
        batches,
        epochs=config.epochs,
        evaluate=train.make_eval_step(model, loss, metrics=accuracy),
        test_batches=windows(validation, starts, config),
        config=config._asdict(),
    )
    if not history.epochs:  # interrupted in the first epoch
        return history

    sample = complete(ts.params, sizes, alphabet, config)
    last = history.epochs[-1]
    print("\n             loss    bits    accuracy")
    for name, phase in (("train", "train"), ("validation", "test")):
        nats, right = last[f"{phase}_loss"], last[f"{phase}_accuracy"]
        print(f"{name:10}  {nats:.4f}  {nats / math.log(2):.4f}      {right:.4f}")
    seconds = time.perf_counter() - start
    print(f"\nparameters {tree.size(ts.params):,}, {seconds:.1f} s in all\n\n{sample}")
    if out is not None:
        history.to_json(out / "history.json")
        plot.curves(history, out / "curves.png", title="A character-level GPT")
        (out / "sample.txt").write_text(sample)
        print(f"\nwrote history.json, curves.png and sample.txt to {out}")
    return history


def parse(arguments: list[str] | None = None) -> Config:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in Config()._asdict().items():
        kind = str if value is None else type(value)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=value)
    return Config(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    main(parse())
