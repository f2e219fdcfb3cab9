"""Orthogonal and identity (Dirac) initializers."""

import math

import mlx.core as mx

from lucid_fn import random
from lucid_fn.checks import check_number, check_size
from lucid_fn.nn.initializers.fans import Initializer, Shape, fans
from lucid_fn.types import Array, Key


def orthogonal(gain: float = 1.0) -> Initializer:
    """Orthogonal: the rows of the weight are orthogonal and of length `gain`.

    The weight is taken as a matrix with `out` rows. If it has fewer columns than rows,
    the columns are orthogonal instead.

    Args:
        gain: length of the rows, at least 0.

    Source: Saxe et al., 2014, https://arxiv.org/abs/1312.6120.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> weight = initializers.orthogonal()(random.key(0), (2, 3))
        >>> mx.allclose(weight @ weight.T, mx.eye(2), atol=1e-6).item()
        True
    """
    gain = check_number("orthogonal", "gain", gain, at_least=0)

    def init(key: Key, shape: Shape) -> Array:
        rows, columns = shape[0], fans(shape)[0]
        drawn = random.normal(key, (max(rows, columns), min(rows, columns)))
        q, r = mx.linalg.qr(drawn, stream=mx.cpu)
        # With a positive diagonal of r the factorization is unique, and q is uniform.
        q = q * mx.where(mx.diag(r) < 0, -gain, gain)
        return (q if rows >= columns else q.T).reshape(shape)

    return init


def identity(key: Key, shape: Shape) -> Array:
    """Identity (Dirac): the layer returns its input.

    If there are more outputs than inputs, the other outputs are zero; if there are
    fewer, the other inputs are ignored.

    Args:
        key: a random key; unused.
        shape: shape of the weight, `(out, ..., in)`.

    Raises:
        ValueError: if `shape` has fewer than two axes.

    Example:
        >>> from lucid_fn import random
        >>> from lucid_fn.nn import initializers
        >>> initializers.identity(random.key(0), (2, 3))
        array([[1, 0, 0],
               [0, 1, 0]], dtype=float32)
    """
    fans(shape)
    check_size("initializers.identity", "shape", shape)
    taps = math.prod(shape[1:-1])
    middle = 0
    for size in shape[1:-1]:
        middle = middle * size + size // 2
    eye = mx.eye(shape[0], shape[-1])[:, None]  # (out, 1, in)
    before, after = middle, taps - middle - 1
    return mx.pad(eye, [(0, 0), (before, after), (0, 0)]).reshape(shape)
