"""Random numbers from explicit keys: the same key gives the same numbers.

MLX has a hidden generator as well, which a compiled function freezes at its first
call; nothing here touches it. Use a key once: `split` it for more.
"""

import hashlib
from collections.abc import Sequence

import mlx.core as mx

from lucid_fn.types import Array, Key

__all__ = [
    "bernoulli",
    "categorical",
    "fold_in",
    "gumbel",
    "key",
    "normal",
    "permutation",
    "randint",
    "split",
    "truncated_normal",
    "uniform",
]

# Keep the labels of `fold_in` apart from each other's kind and from `split`.
_INT_SALT = 0x9E3779B9


def _check_key(caller: str, key: Key) -> None:
    if isinstance(key, mx.array) and key.dtype == mx.uint32 and key.shape == (2,):
        return
    got = (
        f"an array of {key.dtype} and shape {key.shape}"
        if isinstance(key, mx.array)
        else repr(key)
    )
    raise TypeError(
        f"{caller}: key must be a key (uint32, shape (2,)), got {got}; "
        "make one with random.key(0)"
    )


def key(seed: int) -> Key:
    """The key of a seed.

    Args:
        seed: an integer in [0, 2**64).

    Returns:
        A uint32 array of shape `(2,)`.

    Raises:
        TypeError: if `seed` is not an integer.
        ValueError: if it is out of range.

    Example:
        >>> key(7)
        array([0, 7], dtype=uint32)
    """
    if isinstance(seed, bool) or not hasattr(seed, "__index__"):
        raise TypeError(f"random.key: seed must be an integer, got {seed!r}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"random.key: seed must be in [0, 2**64), got {seed}")
    return mx.array([seed >> 32, seed & 0xFFFFFFFF], dtype=mx.uint32)


def split(key: Key, num: int = 2) -> Array:
    """`num` new keys, independent of each other.

    Returns:
        A uint32 array of shape `(num, 2)`, whose rows are keys.

    Raises:
        TypeError: if `key` is not a key.
        ValueError: if `num` is not positive.

    Example:
        >>> data_key, model_key = split(key(0))
        >>> data_key.shape
        (2,)
    """
    _check_key("random.split", key)
    if num < 1:
        raise ValueError(f"random.split: num must be at least 1, got {num}")
    return mx.random.split(key, num)


def _salt(label: str | int | Array) -> Array:
    """Two words that stand for a label."""
    if isinstance(label, str):
        digest = hashlib.blake2b(label.encode(), digest_size=8).digest()
        words = [
            int.from_bytes(digest[:4], "little"),
            int.from_bytes(digest[4:], "little"),
        ]
        return mx.array(words, dtype=mx.uint32)
    if isinstance(label, mx.array):
        if label.shape != () or not mx.issubdtype(label.dtype, mx.integer):
            raise TypeError(
                "random.fold_in: label must be a str, an int or an integer array of "
                f"shape (), got {label.dtype} {label.shape}"
            )
        return mx.stack([mx.array(_INT_SALT, mx.uint32), label.astype(mx.uint32)])
    if isinstance(label, bool) or not hasattr(label, "__index__"):
        raise TypeError(
            f"random.fold_in: label must be a str, an int or an array, got {label!r}"
        )
    if not 0 <= label < 2**32:
        raise ValueError(f"random.fold_in: label must be in [0, 2**32), got {label}")
    return mx.array([_INT_SALT, label], dtype=mx.uint32)


def fold_in(key: Key, label: str | int | Array) -> Key:
    """The key that `key` gives to `label`: a function of these two alone.

    Unlike with `split`, adding or removing a label leaves the others' keys alone.

    Args:
        key: a key.
        label: a name, an integer in [0, 2**32), or an integer array of shape `()`
            such as the step, also inside a compiled function.

    Raises:
        TypeError: if `key` is not a key, or `label` is of another kind.
        ValueError: if an integer label is out of range.

    Example:
        >>> k = key(0)
        >>> mx.array_equal(fold_in(k, "conv1"), fold_in(k, "conv1")).item()
        True
        >>> mx.array_equal(fold_in(k, 3), fold_in(k, mx.array(3))).item()
        True
    """
    _check_key("random.fold_in", key)
    return mx.random.split(mx.bitwise_xor(key, _salt(label)))[0]


def normal(key: Key, shape: Sequence[int] = (), dtype: mx.Dtype = mx.float32) -> Array:
    """Draws from the normal distribution of mean 0 and deviation 1.

    Example:
        >>> normal(key(0), (2, 3)).shape
        (2, 3)
    """
    _check_key("random.normal", key)
    return mx.random.normal(shape, dtype, key=key)


def uniform(
    key: Key,
    shape: Sequence[int] = (),
    dtype: mx.Dtype = mx.float32,
    *,
    low: float | Array = 0.0,
    high: float | Array = 1.0,
) -> Array:
    """Draws from `[low, high)`, all values equally likely.

    Example:
        >>> uniform(key(0), (3,), low=-1.0).shape
        (3,)
    """
    _check_key("random.uniform", key)
    return mx.random.uniform(low, high, shape, dtype, key=key)


def truncated_normal(
    key: Key,
    shape: Sequence[int] = (),
    dtype: mx.Dtype = mx.float32,
    *,
    low: float | Array = -2.0,
    high: float | Array = 2.0,
) -> Array:
    """Draws from the normal distribution, given that they are in `[low, high]`."""
    _check_key("random.truncated_normal", key)
    return mx.random.truncated_normal(low, high, shape, dtype, key=key)


def bernoulli(
    key: Key, probability: float | Array = 0.5, shape: Sequence[int] = ()
) -> Array:
    """Draws that are true with a probability in [0, 1]: bool.

    Example:
        >>> bernoulli(key(0), 1.0, (2,))
        array([True, True], dtype=bool)
    """
    _check_key("random.bernoulli", key)
    return mx.random.bernoulli(probability, shape, key=key)


def randint(
    key: Key,
    shape: Sequence[int] = (),
    *,
    low: int | Array = 0,
    high: int | Array,
    dtype: mx.Dtype = mx.int32,
) -> Array:
    """Draws integers from `[low, high)`.

    Example:
        >>> randint(key(0), (4,), high=1)
        array([0, 0, 0, 0], dtype=int32)
    """
    _check_key("random.randint", key)
    return mx.random.randint(low, high, shape, dtype, key=key)


def categorical(key: Key, logits: Array, *, axis: int = -1) -> Array:
    """Draws class indices with the probabilities `softmax(logits)` along `axis`.

    Example:
        >>> categorical(key(0), mx.array([[0.0, -1e9], [-1e9, 0.0]]))
        array([0, 1], dtype=uint32)
    """
    _check_key("random.categorical", key)
    return mx.random.categorical(logits, axis, key=key)


def gumbel(key: Key, shape: Sequence[int] = (), dtype: mx.Dtype = mx.float32) -> Array:
    """Draws from the standard Gumbel distribution."""
    _check_key("random.gumbel", key)
    return mx.random.gumbel(shape, dtype, key=key)


def permutation(key: Key, x: int | Array, *, axis: int = 0) -> Array:
    """The integers below `x`, or the slices of an array along `axis`, in random order.

    Example:
        >>> sorted(permutation(key(0), 5).tolist())
        [0, 1, 2, 3, 4]
    """
    _check_key("random.permutation", key)
    return mx.random.permutation(x, axis, key=key)
