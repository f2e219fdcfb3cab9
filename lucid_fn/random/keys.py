"""Keys of random numbers: made from a seed, split, and derived."""

import hashlib

import mlx.core as mx

from lucid_fn.checks import check_count
from lucid_fn.random.checks import check_key, to_integer
from lucid_fn.tracing import started
from lucid_fn.types import Array, Key

# Keeps integer labels of `fold_in` from colliding with strings.
_INT_SALT = 0x9E3779B9


def key(seed: int) -> Key:
    """Makes the key of a seed.

    Args:
        seed: an integer in [0, 2**64).

    Returns:
        A uint32 array of shape `(2,)`.

    Raises:
        TypeError: if `seed` is not an integer.
        ValueError: if it is out of range.

    Example:
        >>> from lucid_fn import random
        >>> random.key(7)
        array([0, 7], dtype=uint32)
    """
    number = to_integer("key", "seed", seed)
    if not 0 <= number < 2**64:
        raise ValueError(f"random.key: seed must be in [0, 2**64), got {number}")
    return mx.array([number >> 32, number & 0xFFFFFFFF], dtype=mx.uint32)


def split(key: Key, num: int = 2) -> Array:
    """Splits a key into `num` independent keys.

    Args:
        key: a key.
        num: how many, at least 1.

    Returns:
        A uint32 array of shape `(num, 2)`, whose rows are keys.

    Raises:
        TypeError: if `key` is not a key, or `num` not an integer.
        ValueError: if `num` is not positive or not below 2**31.

    Example:
        >>> from lucid_fn import random
        >>> data_key, model_key = random.split(random.key(0))
        >>> data_key.shape
        (2,)
    """
    check_key("split", key)
    count = check_count("random.split", "num", num, below=2**31)
    return started(mx.random.split(key, count))


def _salt(label: str | int | Array) -> Array:
    """A label as two words, uint32."""
    if isinstance(label, str):
        digest = hashlib.blake2b(
            label.encode(errors="surrogatepass"), digest_size=8
        ).digest()
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
        wide = label.astype(mx.uint64)
        # Divided, not shifted: MLX's shift reads beyond its arrays under vmap.
        upper = (wide // 2**32).astype(mx.uint32) + mx.array(_INT_SALT, mx.uint32)
        return mx.stack([upper, wide.astype(mx.uint32)])
    kinds = "a str, an int or an array"
    number = to_integer("fold_in", "label", label, kinds=kinds)
    if not 0 <= number < 2**64:
        raise ValueError(f"random.fold_in: label must be in [0, 2**64), got {number}")
    high, low = ((number >> 32) + _INT_SALT) % 2**32, number % 2**32
    return mx.array([high, low], dtype=mx.uint32)


def fold_in(key: Key, label: str | int | Array) -> Key:
    """Derives a key from a key and a label.

    It depends on these two alone. With `split`, in contrast, one more key changes the
    others.

    Args:
        key: a key.
        label: a name, an integer in [0, 2**64), or an integer array of shape `()`
            such as the step, also inside a compiled function. A negative value of an
            array stands for itself plus 2**64.

    Raises:
        TypeError: if `key` is not a key, or `label` is of the wrong type.
        ValueError: if an integer label is out of range.

    Example:
        >>> import mlx.core as mx
        >>> from lucid_fn import random
        >>> k = random.key(0)
        >>> a, b = random.fold_in(k, "conv1"), random.fold_in(k, "conv1")
        >>> mx.array_equal(a, b).item()
        True
        >>> mx.array_equal(random.fold_in(k, 3), random.fold_in(k, mx.array(3))).item()
        True
    """
    check_key("fold_in", key)
    # Hashed before the label is added, else step 3 of seed 0 would be step 2 of seed 1.
    # Added, not xor-ed: MLX's bitwise_xor loses the batch under vmap.
    return started(mx.random.split(mx.random.split(key)[0] + _salt(label))[0])
