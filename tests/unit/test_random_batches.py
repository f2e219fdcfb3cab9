"""Draws from a batch of keys: by `vmap`, equal to a loop; refused without it."""

import mlx.core as mx
import pytest

from lucid_fn import random, vmap
from tests.fusion import jitted

KEYS = random.split(random.key(3), 4)
SHAPE = (3, 2)
DRAWS = {
    "bernoulli": lambda key: random.bernoulli(key, 0.3, SHAPE),
    "beta": lambda key: random.beta(key, 2.0, 0.5, SHAPE),
    "categorical": lambda key: random.categorical(key, mx.zeros((3, 5))),
    "choice": lambda key: random.choice(key, 7, SHAPE),
    "dirichlet": lambda key: random.dirichlet(key, mx.array([1.0, 0.5, 2.0]), (3,)),
    "exponential": lambda key: random.exponential(key, SHAPE),
    "fold_in": lambda key: random.fold_in(key, "label"),
    "gamma": lambda key: random.gamma(key, 1.5, SHAPE),
    "gumbel": lambda key: random.gumbel(key, SHAPE),
    "laplace": lambda key: random.laplace(key, SHAPE),
    "multivariate_normal": lambda key: random.multivariate_normal(
        key, mx.zeros(2), mx.eye(2), (3,)
    ),
    "normal": lambda key: random.normal(key, SHAPE),
    "permutation": lambda key: random.permutation(key, 6),
    "poisson": lambda key: random.poisson(key, 3.0, SHAPE),
    "randint": lambda key: random.randint(key, SHAPE, low=0, high=9),
    "split": lambda key: random.split(key, 3),
    "truncated_normal": lambda key: random.truncated_normal(key, SHAPE),
    "uniform": lambda key: random.uniform(key, SHAPE, low=-1.0),
}
each = pytest.mark.parametrize("name", DRAWS)


def equal(a, b):
    return a.dtype == b.dtype and mx.allclose(a, b, rtol=1e-6, atol=1e-6).item()


def test_all_draws_are_here():
    assert DRAWS.keys() | {"key"} == set(random.__all__)


@each
def test_a_batch_of_keys_draws_what_a_loop_draws(name):
    draw = DRAWS[name]
    loop = mx.stack([draw(key) for key in KEYS])
    assert equal(vmap(draw)(KEYS), loop)
    assert equal(jitted(vmap(draw), KEYS), loop)


@each
def test_batches_of_keys_may_have_several_axes(name):
    draw = DRAWS[name]
    nested = vmap(vmap(draw))(KEYS.reshape(2, 2, 2))
    loop = mx.stack([draw(key) for key in KEYS])
    assert equal(nested, loop.reshape(2, 2, *loop.shape[1:]))


@each
def test_without_vmap_a_batch_of_keys_is_refused(name):
    message = rf"^random\.{name}: key must be a key .*use lf\.vmap for a batch of keys"
    with pytest.raises(TypeError, match=message):
        DRAWS[name](KEYS)
