"""Gradients of params are sums over a batch: they keep their digits at any size."""

import contextlib

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, strategies as st

from lucid_fn import ops
from lucid_fn.numerics import sum_rows

MANY = 1 << 22
BOUND = 1e-6
ONE, ZERO = mx.ones((2,)), mx.zeros((2,))
FORMULATIONS = pytest.mark.parametrize(
    "formulation", [contextlib.nullcontext, ops.plain], ids=["tuned", "plain"]
)


def conv(kernel, **options):
    weight = mx.ones((2, kernel, kernel, 2 // options.get("groups", 1)))
    return lambda x, bias: ops.conv2d(x, weight, bias, padding=kernel // 2, **options)


# name: (a function of x and a bias, the shape of x)
BIASES = {
    "linear": (lambda x, b: ops.linear(x, mx.ones((2, 2)), b), (MANY, 2)),
    "linear-sequences": (
        lambda x, b: ops.linear(x, mx.ones((2, 2)), b),
        (64, MANY >> 6, 2),
    ),
    "conv2d": (conv(3), (64, 256, 256, 2)),
    "conv2d-1x1": (conv(1), (4, 1024, 1024, 2)),
    "conv2d-depthwise": (conv(1, groups=2), (16, 512, 512, 2)),
    "layer_norm": (lambda x, b: ops.layer_norm(x, ONE, b, eps=1e-5), (MANY, 2)),
    "group_norm": (
        lambda x, b: ops.group_norm(x, ONE, b, groups=1, eps=1e-5),
        (MANY, 2),
    ),
    "group_norm-one-image": (
        lambda x, b: ops.group_norm(x, ONE, b, groups=1, eps=1e-5),
        (1, MANY, 2),
    ),
    "batch_norm": (lambda x, b: ops.batch_norm(x, ONE, b, eps=1e-5)[0], (MANY, 2)),
    "batch_norm_eval": (
        lambda x, b: ops.batch_norm_eval(x, ONE, b, ZERO, ONE, eps=1e-5),
        (MANY, 2),
    ),
}


@FORMULATIONS
@pytest.mark.parametrize("value", [0.1, 0.77])
@pytest.mark.parametrize("name", BIASES)
def test_the_gradient_of_a_bias_of_millions_of_equal_numbers_is_exact(
    name, value, formulation
):
    fn, shape = BIASES[name]
    x = mx.random.normal(shape, key=mx.random.key(0))
    with formulation():
        _, (grad,) = mx.vjp(lambda b: fn(x, b), [ZERO], [mx.full(shape, value)])
    exact = MANY * float(np.float32(value))
    np.testing.assert_allclose(np.array(grad), exact, rtol=BOUND)


# name: (a function of x and a weight, what each weight is multiplied with, given x)
WEIGHTS = {
    "rms_norm": (
        lambda x, w: ops.rms_norm(x, w, eps=1e-5),
        lambda x: x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5),
    ),
    "layer_norm": (
        lambda x, w: ops.layer_norm(x, w, ZERO, eps=1e-2),
        lambda x: (
            (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-2)
        ),
    ),
    "batch_norm_eval": (
        lambda x, w: ops.batch_norm_eval(x, w, ZERO, ZERO, 4 * ONE, eps=1e-12),
        lambda x: x / 2,
    ),
    "prelu": (ops.prelu, lambda x: np.minimum(x, 0)),
}


@FORMULATIONS
@pytest.mark.parametrize("name", WEIGHTS)
def test_the_gradient_of_a_weight_over_millions_of_rows_is_exact(name, formulation):
    fn, factor = WEIGHTS[name]
    x, g = (
        mx.random.uniform(low, 1, (MANY, 2), key=mx.random.key(seed))
        for low, seed in ((-3, 0), (0, 1))
    )
    with formulation():
        _, (grad,) = mx.vjp(lambda w: fn(x, w), [ONE], [g])
    terms = np.array(g, np.float64) * factor(np.array(x, np.float64))
    bound = BOUND * np.abs(terms).sum(0)
    assert np.all(np.abs(np.array(grad) - terms.sum(0)) < bound)


@FORMULATIONS
@pytest.mark.parametrize("rows", [MANY, MANY + 4321])
@pytest.mark.parametrize("name", ["linear", "conv2d"])
def test_the_gradient_of_a_matrix_over_millions_of_rows_keeps_its_digits(
    name, rows, formulation
):
    g, x = (mx.random.uniform(0.1, 1, (rows, n), key=mx.random.key(n)) for n in (2, 3))

    def fn(weight):
        if name == "linear":
            return ops.linear(x, weight)
        return ops.conv2d(x[None, None], weight[:, None, None]).squeeze((0, 1))

    with formulation():
        _, (grad,) = mx.vjp(fn, [mx.ones((2, 3))], [g])
    exact = np.array(g, np.float64).T @ np.array(x, np.float64)
    np.testing.assert_allclose(np.array(grad), exact, rtol=3 * BOUND)


def test_a_weight_that_all_examples_share_is_summed_exactly_too():
    x, g = mx.ones((MANY, 2)), mx.full((MANY, 3), 0.1)

    def scores(bias):
        return mx.vmap(lambda x: ops.linear(x, mx.ones((3, 2)), bias))(x)

    _, (grad,) = mx.vjp(scores, [mx.zeros((3,))], [g])
    np.testing.assert_allclose(np.array(grad), MANY * float(np.float32(0.1)), rtol=1e-6)


@given(
    rows=st.integers(0, 5000), columns=st.integers(1, 5), seed=st.integers(0, 2**32 - 1)
)
def test_blocks_add_up_every_row(rows, columns, seed):
    x = np.random.default_rng(seed).integers(0, 9, (2, rows, columns))
    found = sum_rows(mx.array(x.astype(np.float32)))
    assert found.tolist() == x.sum(axis=1).tolist()


@pytest.mark.parametrize("rows", [129, 1000, 65536, 99991, 1 << 20])
def test_equal_numbers_are_the_worst_case(rows):
    numbers = np.random.default_rng(0).uniform(0.5, 1, 64).astype(np.float32)
    x = mx.contiguous(mx.broadcast_to(mx.array(numbers), (rows, 64)))
    exact = rows * numbers.astype(np.float64)
    np.testing.assert_allclose(np.array(sum_rows(x)), exact, rtol=2e-6)
