"""Sampling at the places of a grid: extremes, transformations and errors."""

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import nn, ops, random
from tests.fusion import jitted

IDENTITY = mx.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])


@pytest.mark.parametrize("align_corners", [False, True])
def test_the_identity_gives_the_image(align_corners, key):
    x = random.normal(key, (1, 5, 4, 3))
    grid = ops.affine_grid(IDENTITY, (5, 4), align_corners=align_corners)
    y = ops.grid_sample(x, grid, align_corners=align_corners)
    assert mx.allclose(y, x, atol=1e-5)


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_places_that_are_not_finite_have_finite_gradients(mode, padding_mode, key):
    x = random.normal(key, (1, 3, 3, 1))
    grid = mx.array([[[[mx.inf, 0.0], [-mx.inf, 1e30], [mx.nan, mx.nan]]]])

    def loss(x, grid):
        y = ops.grid_sample(x, grid, mode=mode, padding_mode=padding_mode)
        return y.sum()

    for grad in lf.grad(loss, argnums=(0, 1))(x, grid):
        assert mx.isfinite(grad).all().item()


def test_a_pixel_that_no_place_is_near_does_not_count():
    x = mx.array([1.0, mx.nan]).reshape(1, 1, 2, 1)
    y = ops.grid_sample(x, mx.array([[[[-1.5, 0.0]]]]))
    assert y.item() == 0


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("align_corners", [False, True])
def test_bicubic_at_a_finer_grid_is_upsampling(dims, align_corners, key):
    x = random.normal(key, (1, *[3, 4, 5][:dims], 2))
    sizes = [7, 6, 5][:dims]
    identity = mx.eye(dims, dims + 1)[None]
    y = ops.grid_sample(
        x,
        ops.affine_grid(identity, sizes, align_corners=align_corners),
        mode="bicubic",
        padding_mode="border",
        align_corners=align_corners,
    )
    layer = nn.upsample_cubic(size=sizes, align_corners=align_corners, dims=dims)
    assert mx.allclose(y, layer.apply({}, {}, x, train=False)[0], atol=1e-5)


def test_half_precision_is_computed_in_float32(key):
    x = random.normal(key, (1, 4, 4, 2))
    grid = random.uniform(key, (1, 3, 3, 2), low=-1.0, high=1.0)
    y = ops.grid_sample(x.astype(mx.float16), grid)
    assert y.dtype == mx.float16
    exact = ops.grid_sample(x.astype(mx.float16).astype(mx.float32), grid)
    np.testing.assert_array_equal(np.array(y), np.array(exact.astype(mx.float16)))


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_vmap_of_a_gradient_is_the_loop(mode, key):
    x = random.normal(key, (3, 1, 4, 4, 2))
    grid = random.uniform(key, (3, 1, 2, 2, 2), low=-1.0, high=1.0)

    def loss(x, grid):
        return mx.square(ops.grid_sample(x, grid, mode=mode)).sum()

    grad = lf.grad(loss, (0, 1))
    together = jitted(lf.vmap(grad), x, grid)
    for found, *each in zip(together, *map(grad, x, grid), strict=True):
        assert mx.allclose(found, mx.stack(each), atol=1e-5)


def test_empty_batches_have_empty_results():
    assert ops.grid_sample(mx.ones((0, 3, 3, 2)), mx.ones((0, 2, 2, 2))).size == 0
    assert ops.affine_grid(mx.ones((0, 2, 3)), 4).shape == (0, 4, 4, 2)


@pytest.mark.parametrize(
    ("x", "grid", "options", "message"),
    [
        ((1, 3, 3), (1, 2, 2, 2), {}, r"x must have shape \(N, H, W, C\) or"),
        ((1, 3, 3, 1), (2, 2, 2, 2), {}, r"grid must have shape \(N, OH, OW, 2\) with"),
        ((1, 3, 3, 1), (1, 2, 2, 3), {}, r"grid must .* got \(1, 2, 2, 3\)"),
        ((1, 3, 3, 1), (1, 2, 2, 2), {"mode": "cubic"}, "mode must be 'bilinear', "),
        ((1, 3, 3, 1), (1, 2, 2, 2), {"mode": ["bicubic"]}, r"mode must .*\['bicubic'"),
        (
            (1, 3, 3, 1),
            (1, 2, 2, 2),
            {"padding_mode": "wrap"},
            "padding_mode must be 'zeros', 'border' or 'reflection', got 'wrap'",
        ),
    ],
)
def test_what_does_not_fit_is_an_error(x, grid, options, message):
    with pytest.raises(ValueError, match=f"grid_sample: {message}"):
        ops.grid_sample(mx.ones(x), mx.ones(grid), **options)


def test_a_map_of_another_shape_is_an_error():
    with pytest.raises(ValueError, match="affine_grid: theta must have shape"):
        ops.affine_grid(mx.ones((2, 3)), 4)
