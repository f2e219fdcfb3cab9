"""Pooling: hand values, ties, padding, transformations, errors."""

import math

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import ops
from lucid_fn.cpu import pooling
from lucid_fn.ops import windows as plain

POOLS = [ops.max_pool2d, ops.avg_pool2d]


def ramp(*shape, dtype=mx.float32):
    return mx.arange(math.prod(shape)).reshape(shape).astype(dtype)


def test_max_pool_takes_the_largest_of_each_window():
    y = ops.max_pool2d(ramp(1, 4, 4, 1), 2)
    assert y.squeeze().tolist() == [[5, 7], [13, 15]]


def test_avg_pool_takes_the_mean_of_each_window():
    y = ops.avg_pool2d(ramp(1, 4, 4, 1), 2)
    assert y.squeeze().tolist() == [[2.5, 4.5], [10.5, 12.5]]


@pytest.mark.parametrize("pool", POOLS)
def test_rows_and_columns_beyond_the_last_window_are_dropped(pool):
    x = ramp(1, 5, 7, 1)
    assert pool(x, 2).tolist() == pool(x[:, :4, :6], 2).tolist()


def test_padding_never_wins_a_maximum():
    x = mx.full((1, 2, 2, 1), -5.0)
    y = ops.max_pool2d(x, 2, stride=2, padding=1)
    assert y.squeeze().tolist() == [[-5, -5], [-5, -5]]


def test_padding_counts_in_the_average_unless_told_otherwise():
    x = mx.full((1, 2, 2, 1), 4.0)
    y = ops.avg_pool2d(x, 2, stride=2, padding=1)
    assert y.squeeze().tolist() == [[1, 1], [1, 1]]
    y = ops.avg_pool2d(x, 2, stride=2, padding=1, count_include_pad=False)
    assert y.squeeze().tolist() == [[4, 4], [4, 4]]


@pytest.mark.parametrize("compiled", [False, True])
def test_the_gradient_of_a_tie_goes_to_the_first_maximum_alone(compiled):
    def grad(x):
        return mx.grad(lambda x: ops.max_pool2d(x, 2).sum())(x)

    grad = mx.compile(grad) if compiled else grad
    g = grad(mx.zeros((1, 4, 4, 1))).squeeze()
    assert g.tolist() == [[1, 0, 1, 0], [0, 0, 0, 0]] * 2


def test_first_means_first_in_row_major_order():
    x = mx.array([[1.0, 2.0], [2.0, 1.0]]).reshape(1, 2, 2, 1)
    g = mx.grad(lambda x: ops.max_pool2d(x, 2).sum())(x)
    assert g.squeeze().tolist() == [[0, 1], [0, 0]]


def test_a_window_of_minus_infinity_passes_its_gradient_inside_of_the_image():
    x = mx.full((1, 2, 2, 1), -math.inf)
    g = mx.grad(lambda x: ops.max_pool2d(x, 2, stride=2, padding=1).sum())(x)
    assert g.squeeze().tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("plain", [False, True])
def test_a_nan_wins_the_maximum_of_its_windows_alone(plain):
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, 1, 1] = np.nan
    if plain:
        with ops.plain():
            y = ops.max_pool2d(mx.array(x), 2)
    else:
        y = ops.max_pool2d(mx.array(x), 2)
    assert mx.isnan(y).squeeze().tolist() == [[True, False], [False, False]]


def test_one_and_three_axes_pool_as_two_do():
    x = mx.random.normal((2, 6, 4, 3), key=mx.random.key(1))
    for dims in ("max_pool", "avg_pool"):
        two = getattr(ops, dims + "2d")
        one = getattr(ops, dims + "1d")(x[:, :, 0], 3, stride=2, padding=1)
        assert mx.allclose(
            one[:, :, None], two(x[:, :, :1], (3, 1), stride=(2, 1), padding=(1, 0))
        )
        three = getattr(ops, dims + "3d")(x[:, None], (1, 3, 2))
        assert mx.allclose(three[:, 0], two(x, (3, 2)))


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_in_half_precision_out(pool, dtype):
    x = mx.random.normal((2, 5, 5, 3), key=mx.random.key(0)).astype(dtype)
    (y,), (dx,) = mx.vjp(
        lambda x: pool(x, 3, stride=2, padding=1), [x], [mx.ones((2, 3, 3, 3), dtype)]
    )
    expected = pool(x.astype(mx.float32), 3, stride=2, padding=1)
    assert y.dtype == dx.dtype == dtype
    assert mx.array_equal(y, expected.astype(dtype))


def test_a_half_precision_average_is_summed_in_float32():
    x = mx.full((1, 64, 64, 1), 60000.0, mx.float16)
    assert ops.avg_pool2d(x, 64).item() == 60000
    assert ops.global_avg_pool2d(x).item() == 60000


@pytest.mark.parametrize("pool", POOLS)
def test_gradients_of_single_examples_are_those_of_the_batch(pool):
    x = mx.random.normal((3, 5, 5, 2), key=mx.random.key(2))

    def loss(x):
        return (pool(x, 3, stride=2, padding=1) ** 2).sum()

    single = mx.vmap(mx.grad(lambda x: loss(x[None])))(x)
    assert mx.allclose(single, mx.grad(loss)(x), atol=1e-6)


@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("pool", POOLS)
def test_large_arrays_have_the_same_results(pool, stride, channels, monkeypatch):
    shape = (5, 7, 8, channels)
    x = mx.random.randint(0, 3, shape, key=mx.random.key(5)).astype(mx.float32)

    def run(x):
        def loss(x):
            y = pool(x, 3, stride=stride, padding=1)
            return (y**2).sum(), y

        (_, y), slope = lf.value_and_grad(loss, has_aux=True)(x)
        return y, slope

    expected = run(x)
    monkeypatch.setattr(pooling, "_LARGE", 0)
    for found, other in zip(run(x), expected, strict=True):
        assert mx.allclose(found, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(
    ("size", "stride", "padding"), [(3, 2, 1), (2, 2, 0), (3, 3, 1)]
)
def test_second_derivatives_are_those_of_the_plain_formulation(
    pool, size, stride, padding
):
    x = mx.random.normal((2, 5, 5, 2), key=mx.random.key(3))

    def curvature(x):
        def loss(x):
            return (pool(x, size, stride=stride, padding=padding) ** 3).sum()

        return mx.grad(lambda x: (mx.grad(loss)(x) ** 2).sum())(x)

    tuned = curvature(x)
    with ops.plain():
        assert mx.allclose(tuned, curvature(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pool", POOLS)
def test_tangents_are_those_of_the_plain_formulation(pool):
    k1, k2 = mx.random.split(mx.random.key(4))
    x, dx = (
        mx.random.normal((2, 5, 5, 2), key=k1),
        mx.random.normal((2, 5, 5, 2), key=k2),
    )

    def tangent():
        return mx.jvp(lambda x: pool(x, 3, stride=2, padding=1), [x], [dx])[1][0]

    tuned = tangent()
    with ops.plain():
        assert mx.allclose(tuned, tangent(), atol=1e-6)


def test_the_global_average_drops_the_spatial_axes():
    y = ops.global_avg_pool2d(ramp(1, 2, 2, 2))
    assert y.tolist() == [[3, 4]]


def test_adaptive_windows_start_at_the_floor_and_end_at_the_ceiling():
    x = ramp(1, 1, 5, 1)
    assert ops.adaptive_avg_pool2d(x, (1, 2)).squeeze().tolist() == [1, 3]
    assert ops.adaptive_max_pool2d(x, (1, 2)).squeeze().tolist() == [2, 4]


def test_adaptive_pooling_to_a_larger_size_repeats_pixels():
    y = ops.adaptive_avg_pool2d(ramp(1, 1, 2, 1), (1, 4))
    assert y.squeeze().tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("x", "arguments", "error", "message"),
    [
        (mx.ones((1, 4, 4, 1), mx.bool_), {}, TypeError, "x must be float32, float16"),
        (mx.ones((4, 4, 1)), {}, ValueError, r"x must have shape \(N, H, W, C\), got"),
        (mx.ones((1, 4, 4, 1)), {"size": 0}, ValueError, "size must be an integer of"),
        (mx.ones((1, 4, 4, 1)), {"size": 2.0}, TypeError, "size must be an integer of"),
        (
            mx.ones((1, 4, 4, 1)),
            {"size": (2, 2, 2)},
            ValueError,
            "size must be an integer of at least 1, or 2 of them",
        ),
        (
            mx.ones((1, 4, 4, 1)),
            {"stride": 0},
            ValueError,
            "stride must be an integer of",
        ),
        (
            mx.ones((1, 4, 4, 1)),
            {"padding": -1},
            ValueError,
            "padding must be an integer of at least 0",
        ),
        (mx.ones((1, 4, 4, 1)), {"padding": 2}, ValueError, "padding must be at most"),
        (mx.ones((1, 4, 4, 1)), {"size": 5}, ValueError, "size must be at most that"),
    ],
)
@pytest.mark.parametrize("pool", POOLS)
def test_bad_arguments_are_named(pool, x, arguments, error, message):
    with pytest.raises(error, match=f"^{pool.__name__}: {message}"):
        pool(x, **{"size": 2, **arguments})


@pytest.mark.parametrize("pool", [ops.adaptive_avg_pool2d, ops.adaptive_max_pool2d])
def test_adaptive_pools_name_a_bad_input(pool):
    with pytest.raises(TypeError, match=f"^{pool.__name__}: x must be float32"):
        pool(mx.ones((1, 4, 4, 1), mx.int32), 2)
    with pytest.raises(ValueError, match=f"^{pool.__name__}: x must have shape"):
        pool(mx.ones((4, 4, 1)), 2)
    with pytest.raises(ValueError, match=f"^{pool.__name__}: x must have shape"):
        pool(mx.ones((1, 0, 4, 1)), 2)


@pytest.mark.parametrize("output_size", [0, (1, 2, 3), (0, 1)])
def test_adaptive_pools_name_a_bad_output_size(output_size):
    with pytest.raises(
        ValueError, match="output_size must be an integer of at least 1"
    ):
        ops.adaptive_avg_pool2d(mx.ones((1, 4, 4, 1)), output_size)


@pytest.mark.parametrize(
    ("shape", "kernel"),
    [((2, 4, 6, 3), (2, 3)), ((2, 7, 5, 2), (2, 2)), ((3, 9, 1), (4,))],
)
def test_tiles_are_slots_with_ties_nan_and_infinities(shape, kernel):
    rng = np.random.default_rng(0)
    numbers = rng.choice([-np.inf, -1.0, -1.0, 0.0, 2.0, np.inf, np.nan], shape)
    x = mx.array(numbers.astype(np.float32))
    out = tuple(n // k for n, k in zip(shape[1:-1], kernel, strict=True))
    none, unit = (0,) * len(kernel), (1,) * len(kernel)
    windows = plain.Windows(shape[1:-1], kernel, kernel, none, unit)
    g = mx.array(rng.normal(size=(shape[0], *out, shape[-1])).astype(np.float32))
    for tiles, slots in (
        (plain.max_by_tiles, plain.max_by_slots),
        (
            lambda x, windows: plain.mean_by_tiles(x, windows, True),
            lambda x, windows: plain.mean_by_slots(x, windows, True),
        ),
    ):
        (found,), (slope,) = mx.vjp(lambda x, f=tiles: f(x, windows), [x], [g])
        (expected,), (grad,) = mx.vjp(lambda x, f=slots: f(x, windows), [x], [g])
        assert mx.allclose(found, expected, rtol=1e-6, equal_nan=True)
        assert mx.allclose(slope, grad, rtol=1e-6)


def test_second_derivatives_of_lp_pooling_of_order_1_are_0_at_0():
    x = mx.array([0.0, 1.0, 2.0, 0.0]).reshape(1, 4, 1)

    def slopes(x):
        return mx.grad(lambda x: mx.sum(ops.lp_pool1d(x, 1, 2) ** 2))(x)

    found = mx.grad(lambda x: mx.sum(slopes(x)))(x)
    assert mx.array_equal(found, mx.full(x.shape, 4.0))
