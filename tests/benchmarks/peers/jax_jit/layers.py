"""Layers of the models, written out: functions of their params and a batch."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def conv(x, w, stride=1, padding="VALID", groups=1, dilation=1):
    """A convolution of images, sequences or volumes, channels last."""
    n = x.ndim - 2
    axes = "DHW"[3 - n :]
    if isinstance(padding, int):
        padding = [(padding, padding)] * n
    return lax.conv_general_dilated(
        x,
        w,
        (stride,) * n,
        padding,
        rhs_dilation=(dilation,) * n,
        feature_group_count=groups,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
    )


def conv_transpose(x, w, stride, padding=0):
    pad = w.shape[0] - 1 - padding
    return lax.conv_transpose(
        x,
        w,
        (stride, stride),
        ((pad, pad), (pad, pad)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def max_pool(x, size=2, stride=2, padding=0):
    n = x.ndim - 2
    window, strides = (1, *(size,) * n, 1), (1, *(stride,) * n, 1)
    pads = ((0, 0), *((padding, padding),) * n, (0, 0))
    return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, pads)


def draw(rng, *shape):
    return jnp.asarray(rng.normal(size=shape) * np.prod(shape[:-1]) ** -0.5, "float32")


def linear_params(rng, features, width):
    return {"weight": draw(rng, features, width), "bias": jnp.zeros(width)}


def linear(p, x):
    return x @ p["weight"] + p["bias"]


def norm_params(width):
    return {"weight": jnp.ones(width), "bias": jnp.zeros(width)}


def layer_norm(p, x):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(var + 1e-5) * p["weight"] + p["bias"]


def batch_norm(p, x, train=True):
    if not train:  # the running statistics are folded into the params
        return x * p["weight"] + p["bias"]
    axes = tuple(range(x.ndim - 1))
    mean, var = x.mean(axes), x.var(axes)
    return (x - mean) * lax.rsqrt(var + 1e-5) * p["weight"] + p["bias"]


def conv_norm_params(rng, kernel, channels, width):
    return {"conv": draw(rng, kernel, kernel, channels, width), **norm_params(width)}


def conv_norm(p, x, stride=1, padding=0, groups=1, train=True):
    return batch_norm(p, conv(x, p["conv"], stride, padding, groups), train)


def block_params(rng, width, hidden):
    return {
        "norm1": norm_params(width),
        "norm2": norm_params(width),
        "qkv": linear_params(rng, width, 3 * width),
        "out": linear_params(rng, width, width),
        "up": linear_params(rng, width, hidden),
        "down": linear_params(rng, hidden, width),
    }


def gelu(x):
    return jax.nn.gelu(x, approximate=False)


def heads_of(p, x, heads):
    """Queries, keys and values `(N, L, heads, D)`."""
    mixed = linear(p["qkv"], layer_norm(p["norm1"], x))
    return (
        a.reshape(*x.shape[:2], heads, x.shape[2] // heads)
        for a in jnp.split(mixed, 3, -1)
    )


def after(p, x, attended, activation=gelu):
    x = x + linear(p["out"], attended.reshape(x.shape))
    hidden = activation(linear(p["up"], layer_norm(p["norm2"], x)))
    return x + linear(p["down"], hidden)


def block(p, x, heads, causal, activation=gelu):
    attended = jax.nn.dot_product_attention(*heads_of(p, x, heads), is_causal=causal)
    return after(p, x, attended, activation)
