"""The sizes of a two-dimensional convolution, without its arrays."""

from typing import NamedTuple

Pair = tuple[int, int]


class Geometry(NamedTuple):
    """What a convolution is besides its input and weight; hashable.

    Each pair is vertical, then horizontal; `padding` holds (before, after) pairs.
    """

    size: Pair
    kernel: Pair
    stride: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair
    groups: int

    @property
    def extent(self) -> Pair:
        """Pixels that a kernel spans, dilation included."""
        return (
            self.dilation[0] * (self.kernel[0] - 1) + 1,
            self.dilation[1] * (self.kernel[1] - 1) + 1,
        )

    @property
    def padded(self) -> Pair:
        """Size of the padded input."""
        return (
            self.size[0] + sum(self.padding[0]),
            self.size[1] + sum(self.padding[1]),
        )

    @property
    def out(self) -> Pair:
        """Size of the output."""
        return (
            (self.padded[0] - self.extent[0]) // self.stride[0] + 1,
            (self.padded[1] - self.extent[1]) // self.stride[1] + 1,
        )
