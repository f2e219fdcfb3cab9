"""Laws of pooling, over random sizes."""

import mlx.core as mx
from hypothesis import given, strategies as st

from lucid_fn import ops

POOLS = st.sampled_from([ops.max_pool2d, ops.avg_pool2d])
ATOL = 1e-5


@st.composite
def poolings(draw):
    size = draw(st.integers(1, 4))
    arguments = {
        "size": size,
        "stride": draw(st.integers(1, 4)),
        "padding": draw(st.integers(0, size // 2)),
    }
    shape = (2, draw(st.integers(size, 8)), draw(st.integers(size, 8)), 2)
    key = mx.random.key(draw(st.integers(0, 2**32 - 1)))
    return mx.random.normal(shape, key=key), arguments


@given(poolings(), POOLS)
def test_the_shape_is_that_of_the_formula(case, pool):
    x, arguments = case
    size, stride, padding = arguments.values()
    h, w = ((n + 2 * padding - size) // stride + 1 for n in x.shape[1:3])
    assert pool(x, **arguments).shape == (2, h, w, 2)


@given(poolings(), POOLS)
def test_tuned_and_plain_agree_with_their_gradients(case, pool):
    x, arguments = case

    def value_and_grad(x):
        def loss(x):
            return (pool(x, **arguments) ** 2).sum()

        return mx.value_and_grad(loss)(x)

    value, grad = value_and_grad(x)
    with ops.plain():
        plain_value, plain_grad = value_and_grad(x)
    assert mx.allclose(value, plain_value, rtol=1e-5)
    assert mx.allclose(grad, plain_grad, atol=ATOL)


@given(poolings(), POOLS)
def test_the_gradient_shares_out_what_came_in(case, pool):
    x, arguments = case
    arguments["padding"] = 0  # zeros outside take their share of an average
    dx = mx.grad(lambda x: pool(x, **arguments).sum())(x)
    assert abs(dx.sum().item() - pool(x, **arguments).size) < 1e-3


@given(poolings())
def test_the_average_is_linear(case):
    x, arguments = case
    y = ops.avg_pool2d(x, **arguments)
    assert mx.allclose(ops.avg_pool2d(-3 * x, **arguments), -3 * y, atol=ATOL)


@given(poolings())
def test_the_maximum_commutes_with_an_increasing_function(case):
    x, arguments = case
    pooled = ops.max_pool2d(x, **arguments)
    assert mx.array_equal(ops.max_pool2d(x * 2 + 1, **arguments), pooled * 2 + 1)
