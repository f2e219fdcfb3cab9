"""Positions in a sequence, as numbers that a model can use."""

import math

import mlx.core as mx

from lucid_fn.checks import check_float
from lucid_fn.nn.checks import check_positive
from lucid_fn.ops.called import takes_array
from lucid_fn.types import Array


def sinusoidal_positions(length: int, features: int, *, base: float = 10000.0) -> Array:
    """Sines and cosines of each position, to be added to the features of a sequence.

    `p[t, 2i] = sin(t / base^(2i / features))` and `p[t, 2i + 1]` is its cosine.

    Args:
        length: number of positions.
        features: sines and cosines of a position; even.
        base: the longest wavelength is `2 * pi * base`; greater than 1.

    Returns:
        float32 array of shape `(length, features)`, in [-1, 1].

    Raises:
        ValueError: if an argument is out of range.

    Source: Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.5.

    Example:
        >>> from lucid_fn import nn
        >>> nn.sinusoidal_positions(2, 2)
        array([[0, 1],
               [0.841471, 0.540302]], dtype=float32)
    """
    check_positive("sinusoidal_positions", length=length, features=features)
    _check_even("sinusoidal_positions", "features", features)
    _check_base("sinusoidal_positions", base)
    exponents = mx.arange(0, features, 2, dtype=mx.float32) / features
    angles = mx.arange(length)[:, None] * mx.exp(-math.log(base) * exponents)
    return mx.stack([mx.sin(angles), mx.cos(angles)], axis=-1).flatten(1)


@takes_array
def rotary_positions(
    x: Array, *, base: float = 10000.0, offset: int | Array = 0
) -> Array:
    """Rotates pairs of features by angles in proportion to the position.

    Feature `i` of the first half and feature `i` of the second half are a point, which
    is turned by `(offset + t) / base^(2i / D)`: the product of two rotated vectors
    depends on the distance of their positions.

    Args:
        x: float, shape `(..., L, D)`, with at least three axes; `D` even.
        base: the longest wavelength is `2 * pi * base`; greater than 1.
        offset: position of the first one: an integer, or an array of shape `()`.

    Returns:
        Float array of the shape and dtype of `x`.

    Raises:
        ValueError: if an argument is out of range.

    Source: Su et al., 2021, https://arxiv.org/abs/2104.09864, eq. 34, with the halves
    paired as in GPT-NeoX and Llama, not neighbours as in the paper.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import nn
        >>> nn.rotary_positions(mx.array([[[1.0, 0.0], [1.0, 0.0]]]))
        array([[[1, 0],
                [0.540302, 0.841471]]], dtype=float32)
    """
    check_float("rotary_positions", x=x)
    if x.ndim < 3:
        raise ValueError(
            f"rotary_positions: x must have shape (N, ..., L, D), got {x.shape}"
        )
    _check_even("rotary_positions", "D", x.shape[-1])
    _check_base("rotary_positions", base)
    return mx.fast.rope(
        x, x.shape[-1], traditional=False, base=base, scale=1.0, offset=offset
    )


def alibi_bias(num_heads: int, length: int, *, keys: int | None = None) -> Array:
    """What attention is told of distances: each head forgets at a rate of its own.

    `bias[h, i, j] = -m_h * |S - L + i - j|`, to be added to the logarithm of the
    weights, as the float mask of `dot_product_attention` and `AttentionInputs`. The
    slopes `m_h` are `2^(-8 h / num_heads)` for `h = 1, 2, ...`; where `num_heads` is no
    power of 2, those of the power below it, then every other one of the power above.

    Args:
        num_heads: heads of the attention.
        length: `L`, number of queries, the last of which stands at the last key.
        keys: `S`, number of keys; `length` if `None`.

    Returns:
        float32 array of shape `(num_heads, length, keys)`, at most 0.

    Raises:
        ValueError: if a number is not positive, or there are fewer keys than queries.

    Source: Press et al., 2021, https://arxiv.org/abs/2108.12409, section 3; other
    numbers of heads as in its code.

    Example:
        >>> from lucid_fn import nn
        >>> nn.alibi_bias(2, 3)[0]
        array([[-0, -0.0625, -0.125],
               [-0.0625, -0, -0.0625],
               [-0.125, -0.0625, -0]], dtype=float32)
    """
    keys = length if keys is None else keys
    check_positive("alibi_bias", num_heads=num_heads, length=length, keys=keys)
    if keys < length:
        raise ValueError(
            f"alibi_bias: keys must be at least length, got {keys} and {length}"
        )
    power = 1 << (num_heads.bit_length() - 1)
    exponents = [8 * h / power for h in range(1, power + 1)]
    exponents += [4 * h / power for h in range(1, 2 * (num_heads - power), 2)]
    slopes = mx.array([2.0**-exponent for exponent in exponents])
    queries = mx.arange(keys - length, keys)
    distances = mx.abs(queries[:, None] - mx.arange(keys)).astype(mx.float32)
    return -slopes[:, None, None] * distances


def _check_even(caller: str, name: str, size: int) -> None:
    if size % 2:
        raise ValueError(f"{caller}: {name} must be even, got {size}")


def _check_base(caller: str, base: float) -> None:
    if not base > 1:
        raise ValueError(f"{caller}: base must be greater than 1, got {base}")
