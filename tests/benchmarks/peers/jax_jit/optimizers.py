"""The update rules, written out: of params, gradients, moments and number of steps."""

import jax
import jax.numpy as jnp


def sgd(params, grads, velocity, t, rate, decay):
    velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, grads)
    return jax.tree.map(lambda p, v: p - rate * v, params, velocity), velocity


def adam(params, grads, moments, t, rate, decay, b1=0.9):
    if decay:
        grads = jax.tree.map(lambda g, p: g + decay * p, grads, params)
    m = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, moments[0], grads)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, moments[1], grads)
    rate, root = rate / (1 - b1**t), jnp.sqrt(1 - 0.999**t)
    params = jax.tree.map(
        lambda p, m, v: p - rate * m / (jnp.sqrt(v) / root + 1e-8), params, m, v
    )
    return params, (m, v)


def adamw(params, grads, moments, t, rate, decay):
    params = jax.tree.map(lambda p: p * (1 - rate * decay), params)
    return adam(params, grads, moments, t, rate, 0.0)


UPDATES = {"sgd": sgd, "adam": adam, "adam_l2": adam, "adamw": adamw}
