"""What holds for every batch normalization."""

import mlx.core as mx
import pytest
from hypothesis import given, settings, strategies as st

from lucid_fn import ops
from lucid_fn.cpu.norm import batch_norm
from tests.strategies import seeds

BOUND = 1e-5  # relative to the largest number, or to the 1 of what cancels
SECOND_ORDER_BOUND = 1e-4
EPS = 1e-3


@st.composite
def batches(draw):
    axes = draw(st.lists(st.integers(1, 5), min_size=0, max_size=2))
    shape = (draw(st.integers(4, 9)), *axes, draw(st.integers(1, 4)))
    return numbers(shape, draw(seeds()))


def numbers(shape, seed=0):
    """An input, weight, bias, and a gradient of the output."""
    keys = mx.random.split(mx.random.key(seed), 4)
    x = 2 * mx.random.normal(shape, key=keys[0]) + 5
    weight, bias = (mx.random.normal(shape[-1:], key=key) for key in keys[1:3])
    return x, weight, bias, mx.random.normal(shape, key=keys[3])


def error(found, expected) -> float:
    assert found.shape == expected.shape
    scale = max(mx.max(mx.abs(expected)).item(), 1.0)
    return mx.max(mx.abs(found - expected)).item() / scale


def normalized(x, weight, bias):
    return ops.batch_norm(x, weight, bias, eps=EPS)[0]


@given(batches(), seeds())
def test_all_gradients_are_those_of_the_plain_formulation(batch, seed):
    x, weight, bias, g = batch
    cotangents = [g, *mx.random.normal((2, x.shape[-1]), key=mx.random.key(seed))]
    run = lambda *arguments: ops.batch_norm(*arguments, eps=EPS)  # noqa: E731
    outputs, grads = mx.vjp(run, [x, weight, bias], cotangents)
    with ops.plain():
        plain_outputs, plain_grads = mx.vjp(run, [x, weight, bias], cotangents)
    for found, expected in zip(
        [*outputs, *grads], [*plain_outputs, *plain_grads], strict=True
    ):
        assert error(found, expected) < BOUND


@given(batches())
def test_an_output_has_the_mean_of_the_bias_and_the_deviation_of_the_weight(batch):
    x, weight, bias, _ = batch
    y = normalized(x, weight, bias).reshape(-1, x.shape[-1])
    variance = mx.var(x.reshape(-1, x.shape[-1]), axis=0)
    deviation = mx.abs(weight) * mx.sqrt(variance / (variance + EPS))
    assert mx.allclose(y.mean(axis=0), bias, atol=1e-4).item()
    assert mx.allclose(mx.std(y, axis=0), deviation, rtol=1e-3, atol=1e-4).item()


@given(batches(), st.floats(-50, 50, width=32))
def test_a_shift_of_the_input_changes_nothing(batch, shift):
    x, weight, bias, _ = batch
    found, expected = (normalized(a, weight, bias) for a in (x + shift, x))
    assert error(found, expected) < 1e-3  # the shift costs digits of x


@given(batches())
@settings(max_examples=10)
def test_evaluation_with_the_batch_statistics_is_training(batch):
    x, weight, bias, _ = batch
    y, mean, var = ops.batch_norm(x, weight, bias, eps=EPS)
    found = ops.batch_norm_eval(x, weight, bias, mean, var, eps=EPS)
    assert error(found, y) < BOUND


@pytest.fixture(params=["whole", "split"])
def sums(request, monkeypatch):
    """Sums on one stream, and on several as in large batches."""
    if request.param == "split":
        monkeypatch.setattr(batch_norm, "_LARGE", 0)


@pytest.fixture(params=[(6, 3, 2, 3), (7, 2)])
def batch(request, sums):
    return numbers(request.param)


def slope(batch):
    _, weight, bias, g = batch
    return mx.grad(lambda x: mx.sum(mx.sin(normalized(x, weight, bias)) * g))


def test_a_gradient_of_gradients_is_that_of_the_plain_formulation(batch):
    x, weight, bias, g = batch

    def penalty(x, weight, bias):
        inner = slope((x, weight, bias, g))
        return mx.sum(inner(x) * mx.cos(x))

    second = mx.grad(penalty, argnums=(0, 1, 2))
    with ops.plain():
        expected = second(x, weight, bias)
    for ours, theirs in zip(second(x, weight, bias), expected, strict=True):
        assert error(ours, theirs) < SECOND_ORDER_BOUND


def test_forward_over_reverse_is_reverse_over_reverse(batch):
    x, direction = batch[0], mx.cos(batch[0])
    (found,) = mx.jvp(slope(batch), [x], [direction])[1]
    expected = mx.grad(lambda x: mx.sum(slope(batch)(x) * direction))(x)
    assert error(found, expected) < SECOND_ORDER_BOUND


def test_mapped_gradients_are_a_loop_of_gradients(batch):
    x = mx.stack([batch[0], mx.square(batch[0])])
    found = mx.vmap(slope(batch))(x)
    assert error(found, mx.stack([slope(batch)(one) for one in x])) < BOUND


def test_compiled_and_eager_gradients_agree(batch):
    found = mx.compile(slope(batch))(batch[0])
    assert error(found, slope(batch)(batch[0])) < BOUND
