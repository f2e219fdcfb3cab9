"""`choice`, `categorical` and `permutation`."""

import math
from collections.abc import Sequence

import mlx.core as mx

from lucid_fn.checks import check_bool, check_count, check_type
from lucid_fn.random.checks import check_axis, check_key, check_vector, to_shape
from lucid_fn.random.exponential import draw_exponential
from lucid_fn.random.uniform import randint
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key


def choice(
    key: Key,
    a: int | Array,
    shape: Sequence[int] = (),
    replace: bool = True,
    p: Array | None = None,
    axis: int = 0,
) -> Array:
    """Draws items of an array along an axis, or integers below a number.

    Args:
        key: a key.
        a: an array, or a number of integers.
        shape: the shape of the draws, which takes the place of `axis` in the result.
        replace: whether an item may be drawn more than once.
        p: the probability of each item, shape `(n,)`; all are equal if `None`. They
            need not add up to 1. Without replacement, items of probability 0 come
            last.
        axis: the axis of the items.

    Raises:
        TypeError: if an argument is of the wrong type.
        ValueError: if there are fewer items than draws without replacement, no items
            at all, no such axis, or if `p` does not have one entry an item.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import random
        >>> random.choice(random.key(0), mx.array([7, 8]), (3,), p=mx.array([0.0, 1.0]))
        array([8, 8, 8], dtype=int32)
    """
    check_key("choice", key)
    size = to_shape("choice", shape)
    check_bool("random.choice", replace=replace)
    axis = check_axis("choice", axis, a.ndim if isinstance(a, mx.array) else 1)
    if isinstance(a, mx.array):
        n = a.shape[axis]
    else:
        n = check_count("random.choice", "a", a, at_least=None)
    draws = math.prod(size)
    if n < 1 and draws:
        raise ValueError(f"random.choice: a must hold at least one item, got {n}")
    if draws > n and not replace:
        raise ValueError(
            f"random.choice: a must hold as many items as are drawn without "
            f"replacement, {draws}, got {n}; give replace=True or a smaller shape"
        )
    if p is not None:
        check_vector("choice", "p", p, 1)
        if p.shape != (n,):
            raise ValueError(
                f"random.choice: p must have one probability an item, shape ({n},), "
                f"got {p.shape}"
            )
    places = _places(key, n, draws, replace, p).reshape(size)
    if not isinstance(a, mx.array):
        return started(places)
    return started(mx.take(a, places, axis=axis))


def categorical(key: Key, logits: Array, *, axis: int = -1) -> Array:
    """Draws class indices with the probabilities `softmax(logits)` along `axis`.

    Args:
        key: a key.
        logits: unnormalised log-probabilities.
        axis: the axis of the classes, which the result has no more.

    Returns:
        Indices, uint32.

    Raises:
        TypeError: if `key` is not a key, or `logits` not an array of real numbers.
        ValueError: if `logits` has no such axis, or no classes.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import random
        >>> random.categorical(random.key(0), mx.array([[0.0, -1e9], [-1e9, 0.0]]))
        array([0, 1], dtype=uint32)
    """
    check_key("categorical", key)
    check_type("random.categorical", "logits", logits, mx.array, "an array")
    if mx.issubdtype(logits.dtype, mx.complexfloating):
        raise TypeError(f"random.categorical: logits must be real, got {logits.dtype}")
    axis = check_axis("categorical", axis, logits.ndim)
    if logits.shape[axis] == 0:
        raise ValueError(
            "random.categorical: logits must have at least one class, got shape "
            f"{logits.shape}"
        )
    batch = list(logits.shape)
    del batch[axis]
    if logits.size == 0:
        return started(mx.zeros(batch, mx.uint32))
    if math.prod(batch) == 1:
        # A vector: of a single row MLX draws by a search that vmap cannot map over.
        drawn = mx.random.categorical(logits.flatten(), key=key)
        return started(drawn.reshape(batch))
    return started(mx.random.categorical(logits, axis, key=key))


def permutation(key: Key, x: int | Array, *, axis: int = 0) -> Array:
    """The integers below `x`, or the slices of an array along `axis`, in random order.

    Args:
        key: a key.
        x: a number of integers, or an array.
        axis: the axis along which an array is shuffled.

    Raises:
        TypeError: if `key` is not a key, or `x` neither an integer nor an array.
        ValueError: if `x` is a negative number, or has no such axis.

    Example:
        >>> from lucid_fn import random
        >>> sorted(random.permutation(random.key(0), 5).tolist())
        [0, 1, 2, 3, 4]
    """
    check_key("permutation", key)
    axis = check_axis("permutation", axis, x.ndim if isinstance(x, mx.array) else 1)
    if isinstance(x, mx.array):
        return started(mx.random.permutation(x, axis, key=key))
    count = check_count(
        "random.permutation", "x", x, at_least=0, kinds="an integer or an array"
    )
    return started(mx.random.permutation(count, key=key))


def _places(key: Key, n: int, draws: int, replace: bool, p: Array | None) -> Array:
    if p is None:
        if replace:
            return randint(key, (draws,), high=max(n, 1))
        return permutation(key, n)[:draws].astype(mx.int32)
    if replace:
        return _by_inversion(key, p, draws)
    # The times of first arrival at rates p come in the order of draws.
    times = draw_exponential(key, (n,)) / p.astype(mx.float32)
    return mx.argsort(times)[:draws].astype(mx.int32)


def _by_inversion(key: Key, p: Array, draws: int) -> Array:
    """Places of a cumulative sum where uniform draws fall.

    In float64: float32 has no room for more than 2^24 items.
    """
    upper, lower = mx.random.split(key)
    whole = mx.random.randint(0, 2**24, (draws,), mx.int32, key=upper)
    rest = mx.random.uniform(shape=(draws,), key=lower)
    with mx.stream(mx.cpu):  # which alone has float64
        edges = mx.cumsum(p.astype(mx.float64))
        u = (whole.astype(mx.float64) + rest.astype(mx.float64)) / 2**24
        # In (0, total], so that an item of probability 0 is never drawn.
        return _first_at_least(edges, edges[-1] * (1 - u))


def _first_at_least(edges: Array, heights: Array) -> Array:
    """The place of the first edge that is not below a height; the last if all are.

    `mx.searchsorted` has no rule for vmap over the edges.
    """
    places = mx.zeros(heights.shape, mx.int32)
    for bit in reversed(range(edges.size.bit_length())):
        further = places + 2**bit
        below = edges[mx.minimum(further, edges.size) - 1] < heights
        inside = mx.logical_and(below, further < edges.size)
        places = mx.where(inside, further, places)
    return places
