"""A DCGAN on MNIST: two networks and two optimizers in one compiled step.

    python examples/dcgan.py

Five epochs on 20,000 digits take a few minutes on two CPU cores. `--out` gets
`history.json`, `losses.png` and `samples.png`. Source: https://arxiv.org/abs/1511.06434.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import NamedTuple, get_args

import mlx.core as mx

import lucid_fn as lf
from lucid_fn import data, losses, nn, ops, optim, plot, random, train, tree

MNIST = Path(__file__).parent / "data" / "mnist"
SMALL = nn.initializers.normal(0.02)  # the initialization of the paper


class Config(NamedTuple):
    data: str = str(MNIST)
    subset: int = 20_000
    epochs: int = 5
    batch_size: int = 64
    learning_rate: float = 2e-4
    latent: int = 64
    width: int = 32
    seed: int = 42
    steps: int | None = None
    out: str = "out/dcgan"


def generator(latent: int, width: int) -> nn.Layer:
    """Noise `(N, latent)` to images `(N, 28, 28, 1)` in [-1, 1]."""
    up = partial(nn.conv_transpose2d, stride=2, padding=1, weight_init=SMALL)
    return nn.serial(
        fc=nn.linear(latent, 7 * 7 * 2 * width, weight_init=SMALL),
        map=nn.unflatten(7, 7, 2 * width),
        bn1=nn.batch_norm(2 * width),
        act1=nn.relu,
        up1=up(2 * width, width, 4),  # (N, 14, 14, width)
        bn2=nn.batch_norm(width),
        act2=nn.relu,
        up2=up(width, 1, 4),
        out=nn.tanh,
    )


def discriminator(width: int) -> nn.Layer:
    """Images `(N, 28, 28, 1)` to logits `(N, 1)`, positive for real ones."""
    down = partial(nn.conv2d, stride=2, padding=1, weight_init=SMALL)
    leaky = partial(ops.leaky_relu, negative_slope=0.2)
    return nn.serial(
        conv1=down(1, width, 4),  # (N, 14, 14, width)
        act1=leaky,
        conv2=down(width, 2 * width, 4),  # (N, 7, 7, 2 * width)
        bn2=nn.batch_norm(2 * width),
        act2=leaky,
        flatten=nn.flatten,
        fc=nn.linear(7 * 7 * 2 * width, 1, weight_init=SMALL),
    )


def logistic_loss(logits: mx.array, real: bool) -> mx.array:
    targets = mx.full(logits.shape, float(real))
    return losses.sigmoid_binary_cross_entropy(logits, targets, reduction="mean")


def make_step(generator, discriminator, optimizer_g, optimizer_d, latent: int):
    """A step `(ts, x, _) -> (ts, metrics)`; `ts` holds both networks."""

    @lf.jit
    def step(ts, x, _):
        params, state, opt_state, key, _ = ts
        z = random.normal(random.fold_in(key, ts.step), (len(x), latent))

        def loss_of_g(params_g):  # maximizes log D(G(z))
            fakes, new = generator.apply(params_g, state["g"], z, train=True)
            logits, _ = discriminator.apply(params["d"], state["d"], fakes, train=True)
            return logistic_loss(logits, real=True), (new, fakes)

        def loss_of_d(params_d, fakes):  # maximizes log D(x) + log(1 - D(G(z)))
            real, new = discriminator.apply(params_d, state["d"], x, train=True)
            fake, new = discriminator.apply(params_d, new, fakes, train=True)
            return logistic_loss(real, real=True) + logistic_loss(fake, real=False), new

        value_and_grad = partial(lf.value_and_grad, has_aux=True)
        (loss_g, (state_g, fakes)), grads_g = value_and_grad(loss_of_g)(params["g"])
        (loss_d, state_d), grads_d = value_and_grad(loss_of_d)(params["d"], fakes)
        updates_g, opt_g = optimizer_g.update(grads_g, opt_state["g"], params["g"])
        updates_d, opt_d = optimizer_d.update(grads_d, opt_state["d"], params["d"])
        ts = ts._replace(
            params=optim.apply_updates(params, {"g": updates_g, "d": updates_d}),
            state={"g": state_g, "d": state_d},
            opt_state={"g": opt_g, "d": opt_d},
            step=ts.step + 1,
        )
        values = {"generator": loss_g, "discriminator": loss_d}
        return ts, {"loss": loss_g + loss_d, **values}

    return step


def main(config: Config) -> train.History:
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    digits = data.load_mnist(config.data).train_images[: config.subset]
    images = data.normalize(digits, 0.5, 0.5)  # in [-1, 1]
    batches = partial(data.batches, (images, images), config.batch_size)
    g, d = generator(config.latent, config.width), discriminator(config.width)
    optimizer_g, optimizer_d = (optim.adam(config.learning_rate, b1=0.5) for _ in "gd")
    key = random.key(config.seed)
    params, state = nn.parallel(g=g, d=d).init(key)
    opt_state = {"g": optimizer_g.init(params["g"]), "d": optimizer_d.init(params["d"])}
    ts, history = train.fit(
        train.TrainState(params, state, opt_state, key, mx.array(0)),
        make_step(g, d, optimizer_g, optimizer_d, config.latent),
        lambda epoch: batches(seed=(config.seed, epoch)),
        epochs=config.epochs,
        max_steps=config.steps,
        history_path=out / "history.json",
    )
    if not history.epochs:  # interrupted in the first epoch
        return history
    print(f"\n{'':16}{'loss':>8}{'parameters':>14}")
    for name in ("generator", "discriminator"):
        loss = history.epochs[-1][f"train_{name}"]
        print(f"{name:16}{loss:8.4f}{tree.size(params[name[0]]):14,}")
    z = random.normal(random.fold_in(key, "samples"), (64, config.latent))
    samples, _ = g.apply(ts.params["g"], ts.state["g"], z, train=False)
    plot.images((samples + 1) / 2, out / "samples.png", columns=16, title="samples")
    plot.curves(history, out / "losses.png", title="DCGAN on MNIST")
    print(f"wrote {out / 'samples.png'}, {out / 'losses.png'} and the history")
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
