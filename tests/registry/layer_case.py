"""The line of a layer: its laws and its inputs."""

import mlx.core as mx
import numpy as np

from tests.registry.case import Case

# Laws that a layer may be exempt from.
EXAMPLES = "a batch is its examples"
EVAL = "eval keeps the state"
DRAWN = "params depend on the key"
SLOPE = "the gradient is the slope"
EMPTY = "an empty batch has an empty result"
REAL = "integers are refused"
COUNT = "an exported one takes any number of examples"
PROMOTED = "the result has the dtype that input and params promote to"


def normal(*shape):
    return lambda rng: (mx.array(rng.normal(size=shape).astype(np.float32)),)


def apart(*shape):
    """Values at least 0.1 apart, and 0.03 from kinks: no step of a slope meets one."""
    size = np.prod(shape)

    def draw(rng):
        values = 0.1 * (rng.permutation(size) - size // 2) + 0.03
        return (mx.array(values.reshape(shape).astype(np.float32)),)

    return draw


def integers(high, *shape):
    return lambda rng: (mx.array(rng.integers(0, high, shape)),)


def several(kind, *draws):
    """An input of several arrays."""
    return lambda rng: (kind(*[draw(rng)[0] for draw in draws]),)


def pooled(pool, *shape):
    """What `pool` finds in windows of 2."""
    return lambda rng: (pool(apart(*shape)(rng)[0], 2, return_indices=True),)


def mask(*shape):
    """Of attention, with a key for every query."""
    return lambda rng: (
        mx.array((rng.random(shape) < 0.5) | np.eye(*shape[-2:], dtype=bool)),
    )


def layer(name, make, inputs, *exempt, **ranges):
    return Case(name, make, inputs, frozenset(exempt), ranges)


SEQUENCE = normal(3, 7, 4)
IMAGE = normal(2, 6, 5, 4)
VOLUME = normal(2, 4, 3, 5, 4)
