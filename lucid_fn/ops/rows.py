"""Moving rows of channels: gathers that copy whole rows, zeros from outside included.

MLX's strided copy moves one number at a time (0.5 to 0.8 ns each); `mx.take` along the
first axis moves a row with one memcpy, twice as fast at 64 channels and faster beyond.
"""

import mlx.core as mx

from lucid_fn.types import Array


def take_rows(x: Array, index: Array) -> Array:
    """Rows `index` of `x` `(R, C)`; row `R` is zero: `(len(index), C)`."""
    zero = mx.zeros((1, x.shape[1]), x.dtype)
    return mx.take(mx.concatenate([x, zero]), index, axis=0)


def swap_rows(x: Array) -> Array:
    """`(A, B, C)` to a contiguous `(B, A, C)`."""
    a, b, c = x.shape
    index = mx.arange(a * b, dtype=mx.uint32).reshape(a, b).T.reshape(-1)
    return mx.take(x.reshape(a * b, c), index, axis=0).reshape(b, a, c)
