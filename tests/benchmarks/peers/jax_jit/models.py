"""The models, written out: each gives its params and a function of them and a batch."""

import functools
from itertools import pairwise

import jax
import jax.numpy as jnp
from jax import lax

from tests.benchmarks import workloads
from tests.benchmarks.peers.jax_jit.layers import (
    block,
    block_params,
    conv,
    conv_norm,
    conv_norm_params,
    conv_transpose,
    draw,
    layer_norm,
    linear,
    linear_params,
    max_pool,
    norm_params,
)


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


def dense(rng, sizes):
    params = [linear_params(rng, *pair) for pair in pairwise(sizes)]

    def apply(params, x):
        for p in params[:-1]:
            x = jax.nn.relu(linear(p, x))
        return linear(params[-1], x)

    return params, apply


def resnet(rng, depths, bottleneck=False, cifar=False, train=True):
    stem = conv_norm_params(rng, *((3, 3, 64) if cifar else (7, 3, 64)))
    blocks, strides, channels = [], [], 64
    for stage, depth in enumerate(depths):
        for i in range(depth):
            width, stride = 64 << stage, 2 if stage and i == 0 else 1
            kernels = (1, 3, 1) if bottleneck else (3, 3)
            widths = (width, width, 4 * width) if bottleneck else (width, width)
            sizes = zip(kernels, (channels, *widths), widths, strict=False)
            block = {"branch": [conv_norm_params(rng, *size) for size in sizes]}
            if stride != 1 or channels != widths[-1]:
                block["shortcut"] = conv_norm_params(rng, 1, channels, widths[-1])
            blocks.append(block)
            strides.append(stride)
            channels = widths[-1]
    head = linear_params(rng, channels, 10 if cifar else 1000)
    step = functools.partial(conv_norm, train=train)

    def apply(params, x):
        x = jax.nn.relu(step(params["stem"], x, *((1, 1) if cifar else (2, 3))))
        x = x if cifar else max_pool(x, 3, 2, 1)
        for p, stride in zip(params["blocks"], strides, strict=True):
            y, last = x, len(p["branch"]) - 1
            for i, q in enumerate(p["branch"]):
                of_this = stride if i == int(bottleneck) else 1
                y = step(q, y, of_this, q["conv"].shape[0] // 2)
                y = y if i == last else jax.nn.relu(y)
            x = step(p["shortcut"], x, stride) if "shortcut" in p else x
            x = jax.nn.relu(x + y)
        return linear(params["head"], x.mean((1, 2)))

    return {"stem": stem, "blocks": blocks, "head": head}, apply


def encoder(rng):
    width, hidden = 256, workloads.FEED_FORWARD
    params = block_params(rng, width, hidden) | {"head": linear_params(rng, width, 10)}

    def apply(p, x):
        x = block(p, x, workloads.HEADS, causal=False, activation=jax.nn.relu)
        return linear(p["head"], x.mean(1))

    return params, apply


def vit(rng, sizes=workloads.VIT):
    width, patch = sizes.width, workloads.VIT_PATCH
    params = {
        "patches": draw(rng, patch, patch, 3, width),
        "bias": jnp.zeros(width),
        "positions": 0.02 * draw(rng, 1, sizes.context, width),
        "blocks": [block_params(rng, width, 4 * width) for _ in range(sizes.depth)],
        "norm": norm_params(width),
        "head": linear_params(rng, width, 10),
    }

    def apply(p, x):
        x = conv(x, p["patches"], patch) + p["bias"]
        x = x.reshape(len(x), -1, width) + p["positions"]
        for q in p["blocks"]:
            x = block(q, x, sizes.heads, causal=False)
        return linear(p["head"], layer_norm(p["norm"], x).mean(1))

    return params, apply


def gpt(rng, sizes=workloads.GPT):
    width, words = sizes.width, sizes.vocabulary
    params = {
        "words": draw(rng, 1, words, width)[0],
        "positions": 0.02 * draw(rng, 1, sizes.context, width),
        "blocks": [block_params(rng, width, 4 * width) for _ in range(sizes.depth)],
        "norm": norm_params(width),
        "head": linear_params(rng, width, words),
    }

    def apply(p, x):
        x = p["words"][x] + p["positions"]
        for q in p["blocks"]:
            x = block(q, x, sizes.heads, causal=True)
        return linear(p["head"], layer_norm(p["norm"], x))

    return params, apply


def lm_head(rng):
    words, width = workloads.WORKLOADS["lm-head"].vocabulary, workloads.LM_WIDTH
    params = {
        "words": draw(rng, 1, words, width)[0],
        "norm": norm_params(width),
        "head": linear_params(rng, width, words),
    }

    def apply(p, x):
        return linear(p["head"], layer_norm(p["norm"], p["words"][x]))

    return params, apply


def mobilenet(rng):
    plan, last = workloads.mobilenet_blocks(), workloads.MOBILENET_LAST
    params = {
        "stem": conv_norm_params(rng, 3, 3, 32),
        "blocks": [
            (
                conv_norm_params(rng, 1, channels, inner),
                conv_norm_params(rng, 3, 1, inner),
                conv_norm_params(rng, 1, inner, width),
            )
            for channels, inner, width, _ in plan
        ],
        "last": conv_norm_params(rng, 1, plan[-1][2], last),
        "head": linear_params(rng, last, 10),
    }

    def apply(p, x):
        x = jax.nn.relu6(conv_norm(p["stem"], x, 1, 1))
        for (widen, depthwise, narrow), (channels, inner, width, stride) in zip(
            p["blocks"], plan, strict=True
        ):
            y = jax.nn.relu6(conv_norm(widen, x))
            y = jax.nn.relu6(conv_norm(depthwise, y, stride, 1, inner))
            y = conv_norm(narrow, y)
            x = x + y if stride == 1 and channels == width else y
        x = jax.nn.relu6(conv_norm(p["last"], x))
        return linear(p["head"], x.mean((1, 2)))

    return params, apply


def unet(rng):
    widths = workloads.UNET_WIDTHS
    pairs = list(pairwise(widths[1:]))

    def double_params(channels, width):
        sizes = ((channels, width), (width, width))
        return [conv_norm_params(rng, 3, *size) for size in sizes]

    def double(params, x):
        for p in params:
            x = jax.nn.relu(conv_norm(p, x, 1, 1))
        return x

    params = {
        "down": [double_params(*pair) for pair in pairwise(widths)],
        "up": [draw(rng, 2, 2, b, a) for a, b in pairs],
        "up_bias": [jnp.zeros(a) for a, _ in pairs],
        "join": [double_params(b, a) for a, b in pairs],
        "head": draw(rng, 1, 1, widths[1], 2),
        "bias": jnp.zeros(2),
    }

    def apply(p, x):
        skips = []
        for q in p["down"][:-1]:
            skips.append(double(q, x))
            x = max_pool(skips[-1])
        x = double(p["down"][-1], x)
        for i in (2, 1, 0):
            x = conv_transpose(x, p["up"][i], 2) + p["up_bias"][i]
            x = double(p["join"][i], jnp.concatenate([x, skips[i]], -1))
        return conv(x, p["head"]) + p["bias"]

    return params, apply


def lstm_cell(carry, gates, hidden):
    i, f, g, o = jnp.split(gates + hidden, 4, -1)
    c = jax.nn.sigmoid(f) * carry[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru_cell(carry, gates, hidden):
    (r, z, n), (r2, z2, n2) = jnp.split(gates, 3, -1), jnp.split(hidden, 3, -1)
    r, z = jax.nn.sigmoid(r + r2), jax.nn.sigmoid(z + z2)
    n = jnp.tanh(n + r * n2)
    return (n + z * (carry[0] - n),)


def recurrent(rng, cell, gates, carries):
    width, depth = workloads.RECURRENT_WIDTH, workloads.RECURRENT_LAYERS
    (_, features) = workloads.WORKLOADS["lstm"].shape
    layers = [
        {
            "input": linear_params(rng, width if i else features, gates * width),
            "hidden": linear_params(rng, width, gates * width),
        }
        for i in range(depth)
    ]
    params = {"layers": layers, "head": linear_params(rng, width, 10)}

    def apply(params, x):
        x = x.swapaxes(0, 1)
        for p in params["layers"]:

            def step(carry, at, p=p):
                carry = cell(carry, at, linear(p["hidden"], carry[0]))
                return carry, carry[0]

            begin = (jnp.zeros((x.shape[1], width)),) * carries
            _, x = lax.scan(step, begin, linear(p["input"], x))
        return linear(params["head"], x[-1])

    return params, apply


def tcn(rng):
    width = workloads.TCN_WIDTH
    params = {
        "stem": (draw(rng, 9, 1, width), jnp.zeros(width)),
        "dilated": [
            (draw(rng, 3, width, width), jnp.zeros(width))
            for _ in workloads.TCN_DILATIONS
        ],
        "head": linear_params(rng, width, 10),
    }

    def apply(p, x):
        weight, bias = p["stem"]
        x = conv(x, weight, 1, 4) + bias
        for (weight, bias), d in zip(
            p["dilated"], workloads.TCN_DILATIONS, strict=True
        ):
            x = x + jax.nn.relu(conv(x, weight, 1, d, dilation=d) + bias)
        return linear(p["head"], x.mean(1))

    return params, apply


def conv3d(rng):
    pairs = list(pairwise(workloads.CONV3D_WIDTHS))
    params = {
        "convs": [(draw(rng, 3, 3, 3, *pair), jnp.zeros(pair[1])) for pair in pairs],
        "head": linear_params(rng, pairs[-1][1], 10),
    }

    def apply(p, x):
        for i, (weight, bias) in enumerate(p["convs"]):
            x = jax.nn.relu(conv(x, weight, 1, 1) + bias)
            x = max_pool(x) if i < len(pairs) - 1 else x
        return linear(p["head"], x.mean((1, 2, 3)))

    return params, apply


MODELS = {
    "lenet": lenet,
    "mlp": lambda rng: dense(rng, (784, *(workloads.MLP_WIDTH,) * 2, 10)),
    "autoencoder": lambda rng: dense(rng, workloads.AUTOENCODER),
    "transformer": encoder,
    "vit": vit,
    "vit-12": functools.partial(vit, sizes=workloads.VIT._replace(depth=12)),
    "gpt": gpt,
    "lm-head": lm_head,
    "mobilenet": mobilenet,
    "unet": unet,
    "resnet18": functools.partial(resnet, depths=(2, 2, 2, 2), cifar=True),
    "resnet18-224": functools.partial(resnet, depths=(2, 2, 2, 2)),
    "resnet50-224": functools.partial(resnet, depths=(3, 4, 6, 3), bottleneck=True),
    "lstm": functools.partial(recurrent, cell=lstm_cell, gates=4, carries=2),
    "gru": functools.partial(recurrent, cell=gru_cell, gates=3, carries=1),
    "tcn": tcn,
    "conv3d": conv3d,
}
