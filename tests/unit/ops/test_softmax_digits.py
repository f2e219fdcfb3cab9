"""Softmax, its logarithm and cross-entropy: long rows and corners of every dtype."""

import math

import mlx.core as mx
import numpy as np
import pytest
from numpy.testing import assert_allclose

from lucid_fn import ops
from lucid_fn.ops.seam import tuned

DTYPES = [mx.float32, mx.float16, mx.bfloat16]
one_after_another = pytest.mark.skipif(
    not tuned(), reason="on CPUs MLX's own kernels add one number after another"
)


@one_after_another
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("classes", [60, 129, 1000, 2048, 5001, 50_257, 200_003])
@pytest.mark.parametrize("gap", [0.0, 0.3567, 3.0])
def test_equal_logits_the_worst_case_keep_their_digits(rows, classes, gap):
    x = mx.zeros((rows, classes)).at[:, 0].add(gap)
    total = 1 + (classes - 1) * math.exp(-float(np.float32(gap)))
    loss = ops.softmax_cross_entropy(x, mx.zeros((rows,), mx.int32))
    assert_allclose(loss, math.log(total), rtol=1e-6)
    assert_allclose(ops.softmax(x)[:, 0], 1 / total, rtol=2e-6)
    assert_allclose(ops.softmax(x.T, axis=0)[0], 1 / total, rtol=2e-6)
    assert_allclose(ops.log_softmax(x)[:, 0], -math.log(total), rtol=1e-6)
    assert_allclose(ops.logsumexp(x) - gap, math.log(total), rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", [1, 3, 200, 5000])
@pytest.mark.parametrize("axis", [0, -1])
def test_infinities(n, axis, dtype):
    never = mx.full((n, n) if n < 1000 else (2, n), -mx.inf, dtype)
    assert mx.isnan(ops.softmax(never, axis=axis)).all().item()
    assert mx.isnan(ops.log_softmax(never, axis=axis)).all().item()
    assert (ops.logsumexp(never, axis=axis) == -mx.inf).all().item()
    assert (ops.logsumexp(-never, axis=axis) == mx.inf).all().item()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("n", [2, 5000])
@pytest.mark.parametrize("size", [6e4, -6e4])
def test_large_logits_do_not_overflow(n, size, dtype):
    x = mx.full((n,), size, dtype)
    assert_allclose(ops.softmax(x).astype(mx.float32), 1 / n, rtol=4e-3)
    log_softmax = ops.log_softmax(x).astype(mx.float32)
    assert_allclose(log_softmax, -math.log(n), rtol=4e-3)
    loss = ops.softmax_cross_entropy(x, mx.array(0)).item()
    assert loss == pytest.approx(math.log(n), rel=4e-3)


@pytest.mark.parametrize("copies", [1, 2000])
def test_float64_keeps_its_digits(copies):
    x = mx.array([[1e8, 1e8 + 1]], mx.float64)  # equal in float32
    x = mx.repeat(x, copies, axis=0)
    exact = [math.log(p) for p in (1 / (1 + math.e), math.e / (1 + math.e))]
    assert_allclose(ops.softmax(x), np.exp([exact] * copies), rtol=1e-6)
    assert_allclose(ops.log_softmax(x), [exact] * copies, rtol=1e-6)
    assert_allclose(ops.logsumexp(x) - 1e8, math.log1p(math.e), rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_an_impossible_class_has_probability_zero(dtype):
    x = mx.array([0, 0, -mx.inf], dtype)
    assert ops.softmax(x).tolist() == [0.5, 0.5, 0]
    assert ops.log_softmax(x)[2].item() == -mx.inf
    assert ops.softmax_cross_entropy(x, mx.array(2)).item() == mx.inf
