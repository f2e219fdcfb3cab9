"""A variational autoencoder on MNIST, and digits sampled from it.

    python examples/vae.py

Ten epochs on the 60,000 images take about a minute on two CPU cores. `--out` gets
`history.json`, `curves.png`, and `digits.png`: test images, their reconstructions, and
samples. Kingma & Welling, 2013, https://arxiv.org/abs/1312.6114.
"""

import argparse
from pathlib import Path
from typing import NamedTuple, get_args

import mlx.core as mx

import lucid_fn as lf
from lucid_fn import data, losses, nn, ops, optim, plot, random, train, tree

MNIST = Path(__file__).parent / "data" / "mnist"


class Config(NamedTuple):
    data: str = str(MNIST)
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 1e-3
    latent: int = 20
    hidden: int = 400
    seed: int = 42
    steps: int | None = None
    out: str = "out/vae"


class Posterior(NamedTuple):
    """The logits of the pixels, and the approximate posterior of the latents."""

    logits: mx.array  # (N, 784)
    mean: mx.array  # (N, latent)
    log_variance: mx.array  # (N, latent)


def network(inputs: int, hidden: int, outputs: int) -> nn.Layer:
    return nn.serial(
        fc1=nn.linear(inputs, hidden), act=nn.relu, fc2=nn.linear(hidden, outputs)
    )


def forward(x, encoder, decoder, *, train, key):
    mean, log_variance = mx.split(encoder(x), 2, axis=-1)
    z = mean
    if train:  # the reparameterization trick
        z = mean + mx.exp(log_variance / 2) * random.normal(key, mean.shape)
    return Posterior(decoder(z), mean, log_variance)


def reconstruction(posterior: Posterior, x: mx.array) -> mx.array:
    """`-log p(x | z)` of each image, in nats."""
    each = losses.sigmoid_binary_cross_entropy(posterior.logits, x)
    return ops.sum(each, axis=-1)


def divergence(posterior: Posterior, x: mx.array) -> mx.array:
    """KL divergence from the prior N(0, 1), in nats: appendix B of the paper."""
    _, mean, log_variance = posterior
    each = mx.square(mean) + mx.exp(log_variance) - 1 - log_variance
    return ops.sum(each, axis=-1) / 2


def negative_elbo(posterior: Posterior, x: mx.array) -> mx.array:
    return reconstruction(posterior, x) + divergence(posterior, x)


PARTS = {
    "reconstruction": lambda *args: mx.mean(reconstruction(*args)),
    "divergence": lambda *args: mx.mean(divergence(*args)),
}


def main(config: Config) -> train.History:
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)

    dataset = data.load_mnist(config.data)
    x_train, x_test = (
        data.normalize(images, 0.0, 1.0).reshape(len(images), 784)
        for images in (dataset.train_images, dataset.test_images)
    )
    encoder = network(784, config.hidden, 2 * config.latent)
    decoder = network(config.latent, config.hidden, 784)
    model = nn.compose(forward, encoder=encoder, decoder=decoder)
    optimizer = optim.adam(config.learning_rate)

    @lf.jit
    def evaluate(ts, x, targets):  # on samples of z, as the bound requires
        key = random.fold_in(ts.key, "test")
        posterior, _ = model.apply(ts.params, ts.state, x, train=True, key=key)
        parts = {name: part(posterior, targets) for name, part in PARTS.items()}
        return {"loss": sum(parts.values()), **parts}

    ts, history = train.fit(
        train.init(model, optimizer, random.key(config.seed)),
        train.make_step(model, optimizer, negative_elbo, metrics=PARTS),
        lambda epoch: data.batches(
            (x_train, x_train), config.batch_size, seed=(config.seed, epoch)
        ),
        epochs=config.epochs,
        evaluate=evaluate,
        test_batches=data.batches((x_test, x_test), 1000),
        max_steps=config.steps,
        history_path=out / "history.json",
        config=config._asdict(),
    )
    if not history.epochs:  # interrupted in the first epoch
        return history
    print(f"\n{'nats an image':16}{'-ELBO':>10}{'reconstruction':>16}{'KL':>8}")
    for phase in ("train", "test"):
        names = ("loss", "reconstruction", "divergence")
        total, pixels, kl = (history.epochs[-1][f"{phase}_{name}"] for name in names)
        print(f"{phase:16}{total:10.2f}{pixels:16.2f}{kl:8.2f}")
    print(f"\nparameters {tree.size(ts.params):,}")
    shown = mx.array(x_test[:16])
    again, _ = model.apply(ts.params, ts.state, shown, train=False)
    z = random.normal(random.fold_in(ts.key, "samples"), (48, config.latent))
    samples, _ = decoder.apply(ts.params["decoder"], {}, z, train=False)
    rows = [shown, mx.sigmoid(again.logits), mx.sigmoid(samples)]
    digits = mx.concatenate(rows).reshape(-1, 28, 28, 1)
    title = "test images, their reconstructions, and samples"
    plot.images(digits, out / "digits.png", columns=16, title=title)
    plot.curves(history, out / "curves.png", title="VAE on MNIST")
    print(f"wrote {out / 'digits.png'}, {out / 'curves.png'} and the history")
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
