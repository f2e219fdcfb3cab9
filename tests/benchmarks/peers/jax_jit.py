"""jax with `jax.jit`, the models and update rules written out."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tests.benchmarks import workloads
from tests.benchmarks.workloads import Workload


def conv(x, w, stride=1, padding="VALID"):
    return lax.conv_general_dilated(
        x, w, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def draw(rng, *shape):
    return jnp.asarray(rng.normal(size=shape) * np.prod(shape[:-1]) ** -0.5, "float32")


def lenet(rng):
    params = {
        "conv1": draw(rng, 5, 5, 1, 6),
        "conv2": draw(rng, 5, 5, 6, 16),
        "fc1": draw(rng, 256, 120),
        "fc2": draw(rng, 120, 84),
        "fc3": draw(rng, 84, 10),
    }
    biases = {k + "_bias": jnp.zeros(w.shape[-1]) for k, w in params.items()}

    def pool(x):
        window = (1, 2, 2, 1)
        return lax.reduce_window(x, 0.0, lax.add, window, window, "VALID") / 4

    def apply(p, x):
        x = pool(jnp.tanh(conv(x, p["conv1"]) + p["conv1_bias"]))
        x = pool(jnp.tanh(conv(x, p["conv2"]) + p["conv2_bias"]))
        x = x.reshape(x.shape[0], -1)
        x = jnp.tanh(x @ p["fc1"] + p["fc1_bias"])
        x = jnp.tanh(x @ p["fc2"] + p["fc2_bias"])
        return x @ p["fc3"] + p["fc3_bias"]

    return params | biases, apply


def mlp(rng):
    sizes = [784, workloads.MLP_WIDTH, workloads.MLP_WIDTH, 10]
    params = [(draw(rng, a, b), jnp.zeros(b)) for a, b in itertools.pairwise(sizes)]

    def apply(params, x):
        for w, b in params[:-1]:
            x = jax.nn.relu(x @ w + b)
        w, b = params[-1]
        return x @ w + b

    return params, apply


def resnet18(rng):
    params = []

    def make_conv(kernel, channels, width):
        params.append(draw(rng, kernel, kernel, channels, width))
        params.extend((jnp.ones(width), jnp.zeros(width)))

    make_conv(3, 3, 64)
    channels, plan = 64, []
    for width, first in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first, 1):
            make_conv(3, channels, width)
            make_conv(3, width, width)
            projected = stride != 1 or channels != width
            if projected:
                make_conv(1, channels, width)
            plan.append((stride, projected))
            channels = width
    params.extend((draw(rng, 512, 10), jnp.zeros(10)))

    def apply(params, x):
        rest = iter(params)

        def conv_norm(x, stride, padding):
            y = conv(x, next(rest), stride, padding)
            mean, var = y.mean((0, 1, 2)), y.var((0, 1, 2))
            return (y - mean) * lax.rsqrt(var + 1e-5) * next(rest) + next(rest)

        x = jax.nn.relu(conv_norm(x, 1, "SAME"))
        for stride, projected in plan:
            y = jax.nn.relu(conv_norm(x, stride, [(1, 1), (1, 1)]))
            y = conv_norm(y, 1, "SAME")
            x = jax.nn.relu(y + (conv_norm(x, stride, "VALID") if projected else x))
        return x.mean((1, 2)) @ next(rest) + next(rest)

    return params, apply


def transformer(rng):
    width, hidden = 256, workloads.FEED_FORWARD
    params = {
        "qkv": draw(rng, width, 3 * width),
        "out": draw(rng, width, width),
        "up": draw(rng, width, hidden),
        "down": draw(rng, hidden, width),
        "head": draw(rng, width, 10),
    }
    biases = {k + "_bias": jnp.zeros(w.shape[-1]) for k, w in params.items()}
    norms = {f"norm{i}": (jnp.ones(width), jnp.zeros(width)) for i in (1, 2)}

    def norm(x, weight, bias):
        mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) * lax.rsqrt(var + 1e-5) * weight + bias

    def apply(p, x):
        heads = (*x.shape[:2], workloads.HEADS, -1)
        mixed = norm(x, *p["norm1"]) @ p["qkv"] + p["qkv_bias"]
        q, k, v = (a.reshape(heads) for a in jnp.split(mixed, 3, -1))
        a = jax.nn.dot_product_attention(q, k, v).reshape(x.shape)
        x = x + a @ p["out"] + p["out_bias"]
        y = jax.nn.relu(norm(x, *p["norm2"]) @ p["up"] + p["up_bias"])
        x = x + y @ p["down"] + p["down_bias"]
        return x.mean(1) @ p["head"] + p["head_bias"]

    return params | biases | norms, apply


MODELS = {
    "lenet": lenet,
    "mlp": mlp,
    "resnet18": resnet18,
    "transformer": transformer,
}


def sgd(params, grads, velocity, t):
    velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, grads)
    return jax.tree.map(lambda p, v: p - 0.01 * v, params, velocity), velocity


def adam(params, grads, moments, t):
    decay = workloads.WEIGHT_DECAY
    grads = jax.tree.map(lambda g, p: g + decay * p, grads, params)
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, moments[0], grads)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], grads)
    rate, root = 1e-3 / (1 - 0.9**t), jnp.sqrt(1 - 0.999**t)
    params = jax.tree.map(
        lambda p, m, v: p - rate * m / (jnp.sqrt(v) / root + 1e-8), params, m, v
    )
    return params, (m, v)


def make(workload: Workload, size: int, variant: str) -> Callable[[], None]:
    params, apply = MODELS[workload.model](np.random.default_rng(0))
    x, labels = map(jnp.asarray, workloads.batch(workload, size))
    update = {"sgd": sgd, "adam": adam}[workload.optimizer]
    zeros = jax.tree.map(jnp.zeros_like, params)
    moments = zeros if workload.optimizer == "sgd" else (zeros, zeros)

    def loss_of(params, x, labels):
        logp = jax.nn.log_softmax(apply(params, x))
        return -jnp.take_along_axis(logp, labels[:, None], 1).mean()

    @jax.jit
    def step(params, moments, t, x, labels):
        loss, grads = jax.value_and_grad(loss_of)(params, x, labels)
        params, moments = update(params, grads, moments, t)
        return params, moments, t + 1, loss

    carry = (params, moments, jnp.float32(1.0))

    def run() -> None:
        nonlocal carry
        *carry, loss = step(*carry, x, labels)
        jax.block_until_ready((carry, loss))

    return run
