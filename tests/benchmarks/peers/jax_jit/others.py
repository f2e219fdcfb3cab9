"""What is not the training or the inference of one model."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.benchmarks import workloads
from tests.benchmarks.peers.jax_jit import layers
from tests.benchmarks.peers.jax_jit.optimizers import adam
from tests.benchmarks.workloads import Workload

Run = Callable[[], None]


def decoding(workload: Workload, size: int) -> Run:
    """A token; at the end of the cache it begins anew."""
    sizes = workloads.GPT
    width, heads, places = sizes.width, sizes.heads, sizes.context
    rng = np.random.default_rng(0)
    params = {
        "words": layers.draw(rng, 1, sizes.vocabulary, width)[0],
        "blocks": [
            layers.block_params(rng, width, 4 * width) for _ in range(sizes.depth)
        ],
        "norm": layers.norm_params(width),
        "head": layers.linear_params(rng, width, sizes.vocabulary),
    }

    @functools.partial(jax.jit, donate_argnums=(1,))
    def step(params, caches, place, tokens):
        x, moved = params["words"][tokens], []
        seen = jnp.arange(places) <= place
        for p, (keys, values) in zip(params["blocks"], caches, strict=True):
            q, k, v = layers.heads_of(p, x, heads)
            keys = lax.dynamic_update_slice(keys, k, (0, place, 0, 0))
            values = lax.dynamic_update_slice(values, v, (0, place, 0, 0))
            moved.append((keys, values))
            scores = jnp.einsum("nlhd,nshd->nhls", q * (width // heads) ** -0.5, keys)
            weights = jax.nn.softmax(jnp.where(seen, scores, -jnp.inf))
            attended = jnp.einsum("nhls,nshd->nlhd", weights, values)
            x = layers.after(p, x, attended)
        logits = layers.linear(params["head"], layers.layer_norm(params["norm"], x))
        return logits.argmax(-1), moved, place + 1

    def begin():
        shape = (size, places, heads, width // heads)
        return [(jnp.zeros(shape), jnp.zeros(shape)) for _ in range(sizes.depth)]

    tokens, caches, place, done = jnp.zeros((size, 1), int), begin(), jnp.array(0), 0

    def run() -> None:
        nonlocal tokens, caches, place, done
        if done == places - 1:
            caches, place, done = begin(), jnp.array(0), 0
        tokens, caches, place = step(params, caches, place, tokens)
        done += 1
        tokens.block_until_ready()

    return run


def dcgan(workload: Workload, size: int) -> Run:
    """A step of the discriminator, then one of the generator."""
    rng = np.random.default_rng(0)

    def params_of(plan, normed):
        weights = [layers.draw(rng, 4, 4, a, b) for a, b, *_ in plan]
        return weights, [layers.norm_params(plan[i][1]) for i in normed]

    def generate(params, z):
        weights, norms = params
        for i, (_, _, stride, padding) in enumerate(workloads.GAN_LAYERS):
            z = layers.conv_transpose(z, weights[i], stride, padding)
            z = jax.nn.relu(layers.batch_norm(norms[i], z)) if i < 3 else jnp.tanh(z)
        return z

    def judge(params, x):
        weights, norms = params
        for i, (_, _, stride, padding) in enumerate(workloads.GAN_CRITIC):
            x = layers.conv(x, weights[i], stride, padding)
            x = layers.batch_norm(norms[i - 1], x) if i in (1, 2) else x
            x = jax.nn.leaky_relu(x, 0.2) if i < 3 else x
        return x.reshape(-1)

    softplus = jax.nn.softplus

    def update(loss_fn, net, t):
        loss, grads = jax.value_and_grad(loss_fn)(net[0])
        rate = workloads.GAN_RATE
        return loss, adam(net[0], grads, net[1], t, rate, 0.0, b1=0.5)

    @jax.jit
    def step(made, judged, t, real, z):
        fake = lax.stop_gradient(generate(made[0], z))

        def critic_loss(p):
            return softplus(-judge(p, real)).mean() + softplus(judge(p, fake)).mean()

        first, judged = update(critic_loss, judged, t)

        def generator_loss(p):
            return softplus(-judge(judged[0], generate(p, z))).mean()

        second, made = update(generator_loss, made, t)
        return made, judged, t + 1, first + second

    def begun(params):
        zeros = jax.tree.map(jnp.zeros_like, params)
        return params, (zeros, zeros)

    made = begun(params_of(workloads.GAN_LAYERS, (0, 1, 2)))
    judged = begun(params_of(workloads.GAN_CRITIC, (1, 2)))
    real = jnp.asarray(workloads.noise(size, *workload.shape))
    z = jnp.asarray(workloads.noise(size, 1, 1, workloads.GAN_NOISE))
    carry = (made, judged, jnp.float32(1.0))

    def run() -> None:
        nonlocal carry
        *carry, loss = step(*carry, real, z)
        jax.block_until_ready((carry, loss))

    return run


def gradients(fn, number: int, *arrays) -> Run:
    """The value of `fn`, and its gradients in the first `number` arguments."""
    step = jax.jit(jax.value_and_grad(fn, tuple(range(number))))
    arrays = [jnp.asarray(a) for a in arrays]
    return lambda: jax.block_until_ready(step(*arrays))


def layer_norm(workload: Workload, size: int) -> Run:
    x, c = (workloads.noise(size, *workload.shape, seed=seed) for seed in (1, 2))

    def fn(x, weight, bias, c):
        return (layers.layer_norm({"weight": weight, "bias": bias}, x) * c).sum()

    return gradients(fn, 3, x, np.ones_like(c[0]), np.zeros_like(c[0]), c)


def softmax(workload: Workload, size: int) -> Run:
    x, c = (workloads.noise(size, *workload.shape, seed=seed) for seed in (1, 2))
    return gradients(lambda x, c: (jax.nn.softmax(x) * c).sum(), 1, x, c)


def cross_entropy(workload: Workload, size: int) -> Run:
    (classes,) = workload.shape
    x, labels = workloads.batch(workload._replace(classes=classes), size)

    def fn(x, labels):
        logp = jax.nn.log_softmax(x)
        return -jnp.take_along_axis(logp, labels[:, None], 1).mean()

    return gradients(fn, 1, x, labels)


def embedding(workload: Workload, size: int) -> Run:
    (width,) = workload.shape
    rows, _ = workloads.batch(workload._replace(shape=()), size)
    weight = workloads.noise(workload.vocabulary, width)
    c = workloads.noise(size, width, seed=2)
    return gradients(lambda w, rows, c: (w[rows] * c).sum(), 1, weight, rows, c)


def dispatch(workload: Workload, size: int) -> Run:
    add = jax.jit(lambda leaves: jax.tree.map(lambda x: x + 1.0, leaves))
    leaves = {f"leaf{i}": jnp.zeros(workload.shape) for i in range(size)}

    def run() -> None:
        nonlocal leaves
        leaves = jax.block_until_ready(add(leaves))

    return run


def scan_sgd(workload: Workload, size: int) -> Run:
    (steps, features), hidden, classes = workload.shape, 64, workload.classes
    noise = workloads.noise
    params = {"w1": noise(features, hidden) * 0.1, "b1": jnp.zeros(hidden)}
    params |= {"w2": noise(hidden, classes) * 0.1, "b2": jnp.zeros(classes)}
    xs, ys = noise(steps, size, features), jnp.zeros((steps, size, classes))

    def loss(p, x, y):
        hidden = jnp.maximum(x @ p["w1"] + p["b1"], 0)
        return jnp.mean((hidden @ p["w2"] + p["b2"] - y) ** 2)

    def step(p, batch):
        value, grads = jax.value_and_grad(loss)(p, *batch)
        return {name: p[name] - 0.1 * grads[name] for name in p}, value

    run = jax.jit(lambda *args: lax.scan(step, *args))
    return lambda: jax.block_until_ready(run(params, (xs, ys)))


def scan_gru(workload: Workload, size: int) -> Run:
    (steps, features), hidden = workload.shape, 32
    shapes = ((features, 3 * hidden), (hidden, 3 * hidden), (3 * hidden,))
    weights = [workloads.noise(*shape) * 0.1 for shape in shapes]
    xs = workloads.noise(steps, size, features)

    def loss(weights, xs):
        w, u, b = weights

        def cell(h, x):
            r, z, n = jnp.split(x @ w + b, 3, axis=-1)
            r_h, z_h, n_h = jnp.split(h @ u, 3, axis=-1)
            z = jax.nn.sigmoid(z + z_h)
            new = jnp.tanh(n + jax.nn.sigmoid(r + r_h) * n_h)
            h = (1 - z) * new + z * h
            return h, h

        return jnp.mean(lax.scan(cell, jnp.zeros((size, hidden)), xs)[1] ** 2)

    gradient = jax.jit(jax.grad(loss))
    return lambda: jax.block_until_ready(gradient(weights, xs))


OTHERS = {
    "decoding": decoding,
    "dcgan": dcgan,
    "layer-norm": layer_norm,
    "softmax": softmax,
    "cross-entropy": cross_entropy,
    "embedding": embedding,
    "dispatch": dispatch,
    "scan-sgd": scan_sgd,
    "scan-gru": scan_gru,
}
