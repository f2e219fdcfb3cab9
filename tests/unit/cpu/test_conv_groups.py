"""Convolutions in groups, depthwise or not, are those of the plain formulation."""

import mlx.core as mx
import pytest

from lucid_fn import ops
from lucid_fn.cpu.conv import choose
from lucid_fn.ops.conv import TAPS, Geometry

# Image, kernel, stride, padding, dilation.
PLACES = {
    "3x3": ((7, 9), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "strided": ((8, 8), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    "strided 5x5": ((9, 10), (5, 5), (2, 2), ((2, 2), (2, 2)), (1, 1)),
    "dilated": ((7, 7), (3, 3), (1, 1), ((2, 2), (2, 2)), (2, 2)),
    "skips pixels": ((8, 8), (1, 1), (2, 3), ((0, 0), (0, 0)), (1, 1)),
    "lopsided": ((8, 9), (3, 2), (1, 2), ((2, 0), (1, 3)), (2, 1)),
    "7x7": ((6, 6), (7, 7), (1, 1), ((3, 3), (3, 3)), (1, 1)),
    "unseen pixels": ((10, 11), (2, 2), (3, 3), ((0, 0), (0, 0)), (1, 1)),
}
places = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)


def error(found, expected):
    return mx.max(mx.abs(found - expected)).item() / mx.max(mx.abs(expected)).item()


@places
@pytest.mark.parametrize("batch", [1, 3, 4])
@pytest.mark.parametrize(("channels", "outputs"), [(1, 1), (1, 2), (2, 2), (16, 8)])
@pytest.mark.parametrize("wrap", [lambda fn: fn, mx.compile], ids=["eager", "jit"])
def test_groups_are_those_of_the_plain_formulation(
    place, batch, channels, outputs, wrap
):
    geometry = Geometry(*place, groups=3)
    tuned = choose.DEPTHWISE if channels == 1 else choose.GROUPED
    keys = mx.random.split(mx.random.key(batch), 3)
    x = mx.random.normal((batch, *geometry.size, 3 * channels), key=keys[0])
    weight = mx.random.normal((3 * outputs, *geometry.kernel, channels), key=keys[1])
    g = mx.random.normal((batch, *geometry.out, 3 * outputs), key=keys[2])
    arguments = ((x, weight), (g, weight), (x, g))
    for run, plain, given in zip(tuned[:3], TAPS[:3], arguments, strict=True):
        found = wrap(lambda *arrays, run=run: run(*arrays, geometry))(*given)
        assert found.shape == plain(*given, geometry).shape
        assert error(found, plain(*given, geometry)) < 1e-5


def test_nan_stays_in_its_channel():
    x = mx.ones((1, 6, 6, 4))
    x = mx.where(mx.arange(4) == 1, mx.nan, x)
    y = ops.conv2d(x, mx.ones((4, 3, 3, 1)), padding=1, groups=4)
    assert mx.isnan(y).all(axis=(0, 1, 2)).tolist() == [False, True, False, False]
