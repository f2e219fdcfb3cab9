"""Softmax cross-entropy: hand values, precision, transformations, errors."""

import math

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import ops


def batch(n=6, classes=5, seed=0, dtype=mx.float32):
    k1, k2 = mx.random.split(mx.random.key(seed))
    logits = 3 * mx.random.normal((n, classes), key=k1)
    return logits.astype(dtype), mx.random.randint(0, classes, (n,), key=k2)


def test_even_logits_cost_the_logarithm_of_the_number_of_classes():
    loss = ops.softmax_cross_entropy(mx.zeros((3, 7)), mx.array([0, 3, 6]))
    assert loss.tolist() == pytest.approx([math.log(7)] * 3)


def test_leading_axes_are_kept():
    logits, labels = batch(6)
    loss = ops.softmax_cross_entropy(logits.reshape(2, 3, 5), labels.reshape(2, 3))
    assert mx.array_equal(loss.reshape(6), ops.softmax_cross_entropy(logits, labels))


def test_a_single_example_needs_no_batch_axis():
    loss = ops.softmax_cross_entropy(mx.array([0.0, 0.0]), mx.array(1))
    assert loss.item() == pytest.approx(math.log(2))


def test_huge_logits_do_not_overflow():
    loss = ops.softmax_cross_entropy(mx.array([[1e30, 0.0, -1e30]]), mx.array([0]))
    assert loss.item() == 0


def test_a_common_offset_of_the_logits_costs_no_precision():
    logits = mx.array([[1000.0, 990.0]])
    loss = ops.softmax_cross_entropy(logits, mx.array([0])).item()
    assert loss == pytest.approx(math.log1p(math.exp(-10)), rel=2e-3)


@pytest.mark.parametrize("dtype", [mx.uint8, mx.int8, mx.int32, mx.uint32, mx.int64])
def test_labels_may_be_of_any_integer_dtype(dtype):
    logits = mx.random.normal((2, 300), key=mx.random.key(5))
    labels = mx.array([5, 100])

    def grad(labels):
        return mx.grad(lambda z: ops.softmax_cross_entropy(z, labels).sum())(logits)

    assert mx.array_equal(grad(labels.astype(dtype)), grad(labels))


@pytest.mark.parametrize("compiled", [False, True])
def test_the_gradient_is_the_probabilities_less_one_at_the_label(compiled):
    logits, labels = batch()

    def grad(logits, labels):
        return mx.grad(lambda z: ops.softmax_cross_entropy(z, labels).sum())(logits)

    g = (mx.compile(grad) if compiled else grad)(logits, labels)
    z = np.array(logits, np.float64)
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    assert np.allclose(g, p - np.eye(5)[np.array(labels)], atol=1e-6)


def test_each_example_is_weighted_by_its_own_cotangent():
    logits, labels = batch(2)
    weight = mx.array([2.0, 0.0])
    g = mx.grad(lambda z: (weight * ops.softmax_cross_entropy(z, labels)).sum())(logits)
    single = mx.grad(lambda z: ops.softmax_cross_entropy(z, labels).sum())(logits)
    assert mx.allclose(g, weight[:, None] * single)


def test_tangents_and_curvature_are_those_of_the_plain_formulation():
    logits, labels = batch()
    direction = mx.random.normal(logits.shape, key=mx.random.key(9))

    def loss(z):
        return ops.softmax_cross_entropy(z, labels).sum()

    def derivatives():
        tangent = mx.jvp(loss, [logits], [direction])[1][0]
        curvature = mx.grad(lambda z: (mx.grad(loss)(z) * direction).sum())(logits)
        forward = mx.jvp(mx.grad(loss), [logits], [direction])[1][0]
        return tangent, curvature, forward

    tuned = derivatives()
    with ops.plain():
        plain = derivatives()
    for a, b in zip(tuned, plain, strict=True):
        assert mx.allclose(a, b, atol=1e-5)


def test_gradients_of_single_examples_are_those_of_the_batch():
    logits, labels = batch()
    single = mx.vmap(mx.grad(ops.softmax_cross_entropy))(logits, labels)
    whole = mx.grad(lambda z: ops.softmax_cross_entropy(z, labels).sum())(logits)
    assert mx.allclose(single, whole)


@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_is_rounded_once(dtype):
    logits, labels = batch(dtype=dtype)
    loss = ops.softmax_cross_entropy(logits, labels)
    exact = ops.softmax_cross_entropy(logits.astype(mx.float32), labels)
    assert loss.dtype == dtype
    assert mx.array_equal(loss, exact.astype(dtype))
    g = mx.grad(lambda z: ops.softmax_cross_entropy(z, labels).sum())(logits)
    assert g.dtype == dtype


def test_labels_must_be_integers():
    with pytest.raises(TypeError, match=r"labels must be integers, got .*float32"):
        ops.softmax_cross_entropy(mx.zeros((2, 3)), mx.zeros((2,)))


def test_logits_must_be_floats():
    with pytest.raises(TypeError, match="logits must be of a float dtype, got"):
        ops.softmax_cross_entropy(mx.zeros((2, 3), mx.int32), mx.array([0, 1]))


@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_no_examples_have_no_losses_and_an_empty_gradient(shape):
    logits, labels = mx.zeros((*shape, 5), mx.float16), mx.zeros(shape, mx.int32)
    loss = ops.softmax_cross_entropy(logits, labels)
    assert (loss.shape, loss.dtype) == (shape, mx.float16)
    g = mx.grad(lambda z: ops.softmax_cross_entropy(z, labels).sum())(logits)
    assert g.shape == logits.shape


def test_no_classes_are_an_error():
    with pytest.raises(ValueError, match="must have at least one class, got shape"):
        ops.softmax_cross_entropy(mx.zeros((2, 0)), mx.zeros((2,), mx.int32))


@pytest.mark.parametrize("copies", [1, 2000])
def test_float64_keeps_its_digits(copies):
    logits = mx.array([[1e8, 1e8 + 1]], mx.float64)  # equal in float32
    logits = mx.repeat(logits, copies, axis=0)
    loss = ops.softmax_cross_entropy(logits, mx.zeros((copies,), mx.int32))
    assert loss.dtype == mx.float64
    assert np.allclose(loss, math.log1p(math.e))


@pytest.mark.parametrize("shape", [(2, 3), (3,), (2, 1), ()])
def test_labels_must_have_the_shape_of_the_logits_less_the_classes(shape):
    with pytest.raises(ValueError, match=r"labels must have shape \(2,\) .*, got \("):
        ops.softmax_cross_entropy(mx.zeros((2, 3)), mx.zeros(shape, mx.int32))
