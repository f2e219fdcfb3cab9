"""Resizing by any scale and to any size: values and gradients of PyTorch."""

import contextlib
from functools import partial

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import assume, given, settings, strategies as st

from lucid_fn import nn, ops

torch = pytest.importorskip("torch")

MODES = {
    "nearest": nn.upsample_nearest,
    "nearest-exact": partial(nn.upsample_nearest, exact=True),
    "bilinear": nn.upsample_linear,
    "bilinear-aligned": partial(nn.upsample_linear, align_corners=True),
    "bicubic": nn.upsample_cubic,
    "bicubic-aligned": partial(nn.upsample_cubic, align_corners=True),
    "bilinear-antialias": partial(nn.upsample_linear, antialias=True),
    "bicubic-antialias": partial(nn.upsample_cubic, antialias=True),
}
SIZES = st.tuples(st.integers(1, 12), st.integers(1, 12))


@st.composite
def resizings(draw):
    """The sizes of an image, and how it is resized."""
    sizes, outputs = draw(SIZES), draw(SIZES)
    if draw(st.booleans()):
        return sizes, {"size": outputs}
    quotients = [o / n for o, n in zip(outputs, sizes, strict=True)]
    rounded = st.sampled_from([0.5, 1.0, 1.3, 1.5, 2.0, 2.05, 2.3, 3.0])
    scale = tuple(draw(rounded) if draw(st.booleans()) else q for q in quotients)
    return sizes, {"scale": scale}


def theirs(mode, x, resizing):
    mode, _, option = mode.partition("-") if "exact" not in mode else (mode, "", "")
    resizing = {
        "scale_factor" if name == "scale" else name: value
        for name, value in resizing.items()
    }
    if mode in ("bilinear", "bicubic"):
        resizing["align_corners"] = option == "aligned"
        resizing["antialias"] = option == "antialias"
    return torch.nn.functional.interpolate(x, mode=mode, **resizing)


@pytest.mark.parametrize("formulation", [contextlib.nullcontext, ops.plain])
@pytest.mark.parametrize("mode", MODES)
@given(resizing=resizings(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=45)
def test_values_and_gradients_are_pytorchs(mode, formulation, resizing, seed):
    sizes, how = resizing
    image = np.random.default_rng(seed).normal(size=(2, *sizes, 3)).astype(np.float32)
    # In float64 its sums have no rounding of their own; the nearest pixel may change.
    dtype = torch.float32 if "nearest" in mode else torch.float64
    planes = np.moveaxis(image, -1, 1).copy()
    t = torch.tensor(planes, dtype=dtype, requires_grad=True)
    try:
        expected = theirs(mode, t, how)
    except RuntimeError:  # no pixels are left
        with pytest.raises(ValueError, match="scale must leave a pixel"):
            MODES[mode](**how).apply({}, {}, mx.array(image), train=False)
        return
    # PyTorch's antialiased rows are all the first one where they are one pixel wide.
    assume(not ("antialias" in mode and expected.shape[-1] == 1))
    g = np.random.default_rng(seed + 1).normal(size=expected.shape).astype(np.float32)
    (slope,) = torch.autograd.grad(expected, t, torch.tensor(g, dtype=dtype))
    with formulation():
        (y,), (dx,) = mx.vjp(
            lambda x: MODES[mode](**how).apply({}, {}, x, train=False)[0],
            [mx.array(image)],
            [mx.array(np.moveaxis(g, 1, -1))],
        )
    pairs = [(y, expected.detach())]
    # Where the size stays, one of PyTorch's passes interpolates (by the scale) and the
    # other copies: bicubic all axes, antialiased each. That gradient is not one of its
    # values.
    kept = [o == n for o, n in zip(expected.shape[2:], sizes, strict=True)]
    copied = any(kept) if "antialias" in mode else "bicubic" in mode and all(kept)
    if not copied:
        pairs.append((dx, slope))
    for ours, reference in pairs:
        found, exact = np.moveaxis(np.array(ours), -1, 1), reference.numpy()
        # Gradients that dozens of pixels add to are larger, and so is their last digit.
        atol = max(1e-5, 2e-6 * np.max(np.abs(exact), initial=0))
        np.testing.assert_allclose(found, exact, rtol=0, atol=atol)


@pytest.mark.parametrize(("mode", "places"), [("linear", 1), ("trilinear", 3)])
def test_other_numbers_of_axes_can_be_given_a_size(mode, places):
    size = (7, 3, 5)[:places]
    x = np.random.default_rng(0).normal(size=(2, *(4, 5, 6)[:places], 3))
    x = x.astype(np.float32)
    expected = torch.nn.functional.interpolate(
        torch.tensor(np.moveaxis(x, -1, 1).copy()), size=size, mode=mode
    )
    layer = nn.upsample_linear(size=size, dims=places)
    y, _ = layer.apply({}, {}, mx.array(x), train=False)
    found = np.moveaxis(np.array(y), -1, 1)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(("mode", "layer"), MODES.items())
def test_half_precision_is_computed_in_float32(mode, layer):
    x = torch.tensor(np.random.default_rng(0).normal(size=(1, 1, 9, 7)))
    expected = theirs(mode, x, {"size": (14, 4)}).numpy()
    ours = mx.array(np.moveaxis(x.numpy(), 1, -1)).astype(mx.bfloat16)
    y, _ = layer(size=(14, 4)).apply({}, {}, ours, train=False)
    assert y.dtype == mx.bfloat16
    found = np.moveaxis(np.array(y.astype(mx.float32)), -1, 1)
    np.testing.assert_allclose(found, expected, atol=2.0**-6)


def test_integers_have_nearest_neighbours():
    x = torch.arange(12, dtype=torch.uint8).reshape(1, 1, 3, 4)
    expected = torch.nn.functional.interpolate(x, size=(5, 6))
    ours = mx.array(np.moveaxis(x.numpy(), 1, -1))
    y, _ = nn.upsample_nearest(size=(5, 6)).apply({}, {}, ours, train=False)
    assert y.dtype == mx.uint8
    assert np.moveaxis(np.array(y), -1, 1).tolist() == expected.tolist()


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_an_antialiased_row_of_aligned_corners_is_pytorchs(mode):
    image = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype(np.float32)
    how = {"size": (1, 4), "align_corners": True, "antialias": True}
    planes = torch.tensor(np.moveaxis(image, -1, 1).copy())
    expected = torch.nn.functional.interpolate(planes, mode=mode, **how)
    y, _ = MODES[mode](**how).apply({}, {}, mx.array(image), train=False)
    assert np.allclose(y, np.moveaxis(expected.numpy(), 1, -1), atol=1e-6)
