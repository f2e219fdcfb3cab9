"""What holds for every norm of rows, or of groups of channels."""

import mlx.core as mx
import pytest
from hypothesis import given, settings, strategies as st

from lucid_fn import ops
from lucid_fn.cpu.parallel import streams
from tests.strategies import seeds

BOUND = 1e-5  # relative to the largest number, or to the 1 of what cancels
SECOND_ORDER_BOUND = 1e-4
EPS = 1e-3

NORMS = {
    "layer_norm": lambda x, w, b: ops.layer_norm(x, w, b, eps=EPS),
    "rms_norm": lambda x, w, b: ops.rms_norm(x, w, eps=EPS) + b,
    "one group": lambda x, w, b: ops.group_norm(x, w, b, groups=1, eps=EPS),
    "groups": lambda x, w, b: ops.group_norm(
        x, w, b, groups=2 - x.shape[-1] % 2, eps=EPS
    ),
    "instances": lambda x, w, b: ops.group_norm(x, w, b, groups=x.shape[-1], eps=EPS),
}
norms = pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)


@st.composite
def batches(draw):
    places = draw(st.lists(st.integers(1, 9), min_size=1, max_size=2))
    channels = draw(st.one_of(st.integers(1, 9), st.sampled_from([32, 65, 130])))
    return numbers((draw(st.integers(1, 4)), *places, channels), draw(seeds()))


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


@norms
@given(batch=batches())
@settings(max_examples=15)
def test_values_and_gradients_are_those_of_the_plain_formulation(norm, batch):
    *primals, g = batch
    outputs, grads = mx.vjp(norm, primals, [g])
    with ops.plain():
        plain_outputs, plain_grads = mx.vjp(norm, primals, [g])
    scale = 1 / EPS**0.5  # of the derivative, where a group has one value
    for found, expected in zip(outputs, plain_outputs, strict=True):
        assert error(found, expected) < BOUND
    assert error(grads[0], plain_grads[0]) < BOUND * scale
    for found, expected in zip(grads[1:], plain_grads[1:], strict=True):
        assert error(found, expected) < BOUND


@pytest.fixture(params=["whole", "split"])
def batch(request, monkeypatch):
    """On one stream, and on several as large batches are."""
    if request.param == "split":
        monkeypatch.setattr(streams, "_LARGE", 0)
    return numbers((3, 4, 6))


def slope(norm, batch):
    _, weight, bias, g = batch
    return mx.grad(lambda x: mx.sum(mx.sin(norm(x, weight, bias)) * g))


@norms
def test_a_gradient_of_gradients_is_that_of_the_plain_formulation(norm, batch):
    x, weight, bias, g = batch

    def penalty(x, weight, bias):
        return mx.sum(slope(norm, (x, weight, bias, g))(x) * mx.cos(x))

    second = mx.grad(penalty, argnums=(0, 1, 2))
    with ops.plain():
        expected = second(x, weight, bias)
    for ours, theirs in zip(second(x, weight, bias), expected, strict=True):
        assert error(ours, theirs) < SECOND_ORDER_BOUND


@norms
def test_a_tangent_is_that_of_the_plain_formulation(norm, batch):
    primals, tangents = batch[:3], [mx.cos(a) for a in batch[:3]]
    (found,) = mx.jvp(norm, primals, tangents)[1]
    with ops.plain():
        (expected,) = mx.jvp(norm, primals, tangents)[1]
    assert error(found, expected) < BOUND


@norms
def test_forward_over_reverse_is_reverse_over_reverse(norm, batch):
    x, direction = batch[0], mx.cos(batch[0])
    inner = slope(norm, batch)
    (found,) = mx.jvp(inner, [x], [direction])[1]
    expected = mx.grad(lambda x: mx.sum(inner(x) * direction))(x)
    assert error(found, expected) < SECOND_ORDER_BOUND


@norms
def test_mapped_gradients_are_a_loop_of_gradients(norm, batch):
    x = mx.stack([batch[0], mx.square(batch[0])])
    inner = slope(norm, batch)
    assert error(mx.vmap(inner)(x), mx.stack([inner(one) for one in x])) < BOUND


@norms
def test_mapped_weights_have_their_own_gradients(norm, batch):
    x, weight, bias, g = batch
    weights = mx.stack([weight, mx.cos(weight)])
    inner = mx.grad(lambda w: mx.sum(norm(x, w, bias) * g))
    expected = mx.stack([inner(one) for one in weights])
    assert error(mx.vmap(inner)(weights), expected) < BOUND


@norms
def test_compiled_and_eager_gradients_agree(norm, batch):
    inner = slope(norm, batch)
    assert error(mx.compile(inner)(batch[0]), inner(batch[0])) < BOUND
