"""Checks of random keys."""

from typing import Any

import mlx.core as mx

from lucid_fn.types import Key


def check_key(caller: str, key: Any, *, name: str = "key") -> Key:
    """The key, if it is one: uint32, shape `(2,)`."""
    if isinstance(key, mx.array) and key.dtype == mx.uint32 and key.shape == (2,):
        return key
    got = (
        f"an array of {key.dtype} and shape {key.shape}"
        if isinstance(key, mx.array)
        else repr(key)
    )
    batch = isinstance(key, mx.array) and key.ndim > 1 and key.shape[-1] == 2
    raise TypeError(
        f"{caller}: {name} must be a key (uint32, shape (2,)), got {got}; "
        + (
            "use lf.vmap for a batch of keys"
            if batch
            else "make one with random.key(0)"
        )
    )
