"""What MLX gives the rules of a custom function, and takes from them.

Where there is one argument, or one result, it is an array instead of a sequence.
"""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from lucid_fn.types import Array


def as_list(arrays: Any) -> list[Any]:
    return list(arrays) if isinstance(arrays, list | tuple) else [arrays]


def as_tuple(arrays: Any) -> tuple[Any, ...]:
    return tuple(as_list(arrays))


def unpacked(args: Sequence[Any]) -> Any:
    """What MLX gives a rule: the argument where there is one, else a sequence."""
    return tuple(args) if len(args) > 1 else args[0]


def like(arrays: Sequence[Any], example: Any) -> Any:
    """Results in the form of others: an array, or a sequence of them."""
    return tuple(arrays) if isinstance(example, list | tuple) else arrays[0]


def directions(primals: Any, tangents: Any) -> list[Array]:
    """The tangents, with zeros for arguments that are constant: MLX gives `None`."""
    pairs = zip(as_list(primals), as_list(tangents), strict=True)
    return [mx.zeros_like(x) if dx is None else dx for x, dx in pairs]
