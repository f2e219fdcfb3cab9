"""Convolutions that hypothesis draws, and how exact their formulations are."""

from typing import NamedTuple

import mlx.core as mx
from hypothesis import strategies as st

from lucid_fn.cpu.conv import choose
from lucid_fn.ops.conv import PLAIN, TAPS, Formulation, Geometry

# Largest error of a number, relative to the largest number of the array, float32.
SUM_BOUND = 5e-6  # formulations that add products of the numbers themselves
WINOGRAD_BOUND = 2e-5  # transforms that cancel


class Case(NamedTuple):
    """A convolution with its numbers."""

    geometry: Geometry
    x: mx.array
    weight: mx.array
    g: mx.array  # gradient of the output

    @property
    def options(self) -> dict[str, object]:
        """The keyword arguments of `ops.conv2d`."""
        return {
            "stride": self.geometry.stride,
            "padding": self.geometry.padding,
            "dilation": self.geometry.dilation,
            "groups": self.geometry.groups,
        }


def case(
    geometry: Geometry, batch: int, inputs: int, outputs: int, seed: int = 0
) -> Case:
    """The convolution of that geometry with numbers from the seed."""
    keys = mx.random.split(mx.random.key(seed), 3)
    kernel = (outputs, *geometry.kernel, inputs // geometry.groups)
    return Case(
        geometry,
        mx.random.normal((batch, *geometry.size, inputs), key=keys[0]),
        mx.random.normal(kernel, key=keys[1]),
        mx.random.normal((batch, *geometry.out, outputs), key=keys[2]),
    )


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    """Two integers."""
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def cases(draw: st.DrawFn, *, groups: int = 1, winograd: bool = False) -> Case:
    """Convolutions of any stride, padding, dilation and size, odd ones included."""
    kind = st.sampled_from([((3, 3), (1, 1)), ((4, 4), (2, 2))])
    free = st.tuples(pairs(1, 5), pairs(1, 3))
    kernel, stride = draw(kind if winograd else free)
    geometry = Geometry(
        size=draw(pairs(1, 13)),
        kernel=kernel,
        stride=stride,
        padding=(draw(pairs(0, 3)), draw(pairs(0, 3))),
        dilation=(1, 1) if winograd else draw(pairs(1, 3)),
        groups=groups,
    )
    size = tuple(map(max, geometry.size, geometry.extent))
    channels = st.sampled_from([1, 2, 3, 16, 17])
    return case(
        geometry._replace(size=size),
        draw(st.integers(1, 3)),
        groups * draw(channels if groups == 1 else st.integers(1, 2)),
        groups * draw(channels if groups == 1 else st.integers(1, 3)),
        draw(st.integers(0, 2**32 - 1)),
    )


def formulations(geometry: Geometry) -> dict[str, tuple[Formulation, float]]:
    """Those that can compute the convolution, with their bounds."""
    found = {"plain": (PLAIN, SUM_BOUND)}
    found["taps"] = (TAPS, SUM_BOUND)
    if geometry.groups > 1:
        return found
    found["gemm"] = (choose.IM2COL, SUM_BOUND)
    found["toeplitz"] = (choose.TOEPLITZ, SUM_BOUND)
    place = geometry.kernel, geometry.stride, geometry.dilation
    if place == ((3, 3), (1, 1), (1, 1)):
        found["winograd"] = (choose.WINOGRAD, WINOGRAD_BOUND)
    if place == ((4, 4), (2, 2), (1, 1)):
        found["strided winograd"] = (choose.WINOGRAD_STRIDED, WINOGRAD_BOUND)
    return found


def relative_error(found: mx.array, expected: mx.array) -> float:
    """Largest difference, relative to the largest number expected."""
    assert found.shape == expected.shape
    scale = mx.max(mx.abs(expected)).item() or 1.0
    return float(mx.max(mx.abs(found - expected)).item() / scale)
