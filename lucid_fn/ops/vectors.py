"""Cosine similarity, normalization and pairwise distances of vectors."""

import math

import mlx.core as mx

from lucid_fn.checks import check_axis, check_bool, check_float, check_number, to_number
from lucid_fn.numerics import widen
from lucid_fn.ops.reductions import sum
from lucid_fn.types import Array


def cosine_similarity(
    x: Array, y: Array, *, axis: int = -1, eps: float = 1e-8
) -> Array:
    """The cosine of the angle between vectors.

    `sum(x * y) / (max(|x|, eps) * max(|y|, eps))`, over one axis. To compare each of
    `M` vectors with each of `N`, give `x[:, None]` and `y[None]`.

    Args:
        x: vectors, float, any shape.
        y: vectors, float, of a shape that broadcasts against that of `x`.
        axis: the axis of the components of a vector, in the broadcast shape.
        eps: lower bound of the divisors, positive.

    Returns:
        Float array of the broadcast shape without the axis, in [-1, 1] up to rounding;
        0 if a vector is zero.

    Raises:
        TypeError: if `x` or `y` is not of a float dtype.
        ValueError: if the shapes do not broadcast, or `axis` or `eps` is out of range.

    Source: `torch.nn.functional.cosine_similarity`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.cosine_similarity(mx.array([1.0, 0.0]), mx.array([3.0, 4.0]))
        array(0.6, dtype=float32)
    """
    eps = check_number("cosine_similarity", "eps", eps, above=0)
    dtype = mx.result_type(*_check_pair("cosine_similarity", x, y))
    x, y = mx.broadcast_arrays(widen(x), widen(y))
    axis = check_axis("cosine_similarity", axis, x.ndim)
    # Normalized before they are multiplied: |x| |y| may overflow.
    cosine = sum(_normalized(x, 2, axis, eps) * _normalized(y, 2, axis, eps), axis=axis)
    return cosine.astype(dtype)


def normalize(x: Array, *, p: float = 2.0, axis: int = -1, eps: float = 1e-12) -> Array:
    """Normalizes vectors to length 1: `x / max(|x|_p, eps)`.

    `|x|_p = sum(|x| ** p) ** (1 / p)`, over one axis.

    Args:
        x: vectors, float, any shape but `()`.
        p: order of the norm, positive; `math.inf` for the largest absolute value.
        axis: the axis of the components of a vector.
        eps: lower bound of the divisor, positive; a vector of zeros stays zero.

    Returns:
        Array of the shape and dtype of `x`.

    Raises:
        TypeError: if `x` is not of a float dtype.
        ValueError: if `p`, `axis` or `eps` is out of range.

    Source: `torch.nn.functional.normalize`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.normalize(mx.array([3.0, 4.0]))
        array([0.6, 0.8], dtype=float32)
    """
    p = check_order("normalize", p)
    eps = check_number("normalize", "eps", eps, above=0)
    check_float("normalize", x=x)
    axis = check_axis("normalize", axis, x.ndim)
    return _normalized(widen(x), p, axis, eps).astype(x.dtype)


def pairwise_distance(
    x: Array,
    y: Array,
    *,
    p: float = 2.0,
    axis: int = -1,
    eps: float = 1e-6,
    keepdims: bool = False,
) -> Array:
    """The distance between vectors, `|x - y + eps|_p`; see `normalize`.

    For the distances of each of `M` vectors to each of `N`, give `x[:, None]` and
    `y[None]`.

    Args:
        x: vectors, float, any shape.
        y: vectors, float, of a shape that broadcasts against that of `x`.
        p: order of the norm, positive; `math.inf` for the largest absolute value.
        axis: the axis of the components of a vector, in the broadcast shape.
        eps: added to each difference, at least 0.
        keepdims: whether to keep the axis, with length 1.

    Returns:
        Float array of the broadcast shape without the axis.

    Raises:
        TypeError: if `x` or `y` is not of a float dtype.
        ValueError: if the shapes do not broadcast, or `p`, `axis` or `eps` is out of
            range.

    Source: `torch.nn.functional.pairwise_distance`.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import ops
        >>> ops.pairwise_distance(mx.array([1.0, 0.0]), mx.array([4.0, 4.0]), eps=0.0)
        array(5, dtype=float32)
    """
    check_bool("pairwise_distance", keepdims=keepdims)
    p = check_order("pairwise_distance", p)
    eps = check_number("pairwise_distance", "eps", eps, at_least=0)
    dtype = mx.result_type(*_check_pair("pairwise_distance", x, y))
    difference = widen(x) - widen(y) + eps
    axis = check_axis("pairwise_distance", axis, difference.ndim)
    distance = _norm(difference, p, axis).astype(dtype)
    return distance if keepdims else mx.squeeze(distance, axis)


def _normalized(x: Array, p: float, axis: int, eps: float) -> Array:
    return x / mx.maximum(_norm(x, p, axis), eps)


def _norm(x: Array, p: float, axis: int) -> Array:
    """`|x|_p` with the axis kept; its derivative at 0 is 0, as in PyTorch."""
    if p == 1 or x.size == 0:
        return sum(mx.abs(x), axis=axis, keepdims=True)
    if math.isinf(p):
        return mx.max(mx.abs(x), axis=axis, keepdims=True)
    powers = mx.square(x) if p == 2 else power_from_zero(mx.abs(x), p)
    return power_from_zero(sum(powers, axis=axis, keepdims=True), 1 / p)


def power_from_zero(x: Array, exponent: float) -> Array:
    """`x ** exponent` for `x >= 0`, with derivative 0 at 0."""
    positive = x != 0  # of nan too
    base = mx.where(positive, x, 1.0)
    power = mx.sqrt(base) if exponent == 0.5 else mx.power(base, exponent)
    return mx.where(positive, power, 0.0)


def check_order(caller: str, p: float) -> float:
    """`p` as a float; raises unless it is positive. It may be infinite."""
    p = to_number(caller, "p", p)
    if not p > 0:
        raise ValueError(f"{caller}: p must be positive, got {p}")
    return float(p)


def _check_pair(caller: str, x: Array, y: Array) -> tuple[Array, Array]:
    check_float(caller, x=x, y=y)
    try:
        mx.broadcast_shapes(x.shape, y.shape)
    except ValueError:
        raise ValueError(
            f"{caller}: y must have a shape that broadcasts against that of x, "
            f"{x.shape}, got {y.shape}"
        ) from None
    return x, y
