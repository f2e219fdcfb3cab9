"""Type aliases of the library's signatures."""

from collections.abc import Callable
from typing import Any, TypeAlias

import mlx.core as mx

__all__ = ["Array", "ArrayFn", "Key", "Params", "Scalar", "State", "Tree"]

Array: TypeAlias = mx.array
"""An MLX array, not "array-like": `apply` and `jit` convert NumPy arrays."""

Scalar: TypeAlias = float | mx.array
"""A number, or an array of shape `()` for one that is known at run time only."""

Key: TypeAlias = mx.array
"""A random key: uint32, shape `(2,)`, made by `lucid_fn.random.key`."""

Tree: TypeAlias = Any
"""Arrays in nested dicts, lists, tuples and named tuples."""

Params: TypeAlias = dict[str, Any]
"""Nested dicts of trainable parameters, whose leaves are float arrays."""

State: TypeAlias = dict[str, Any]
"""Nested dicts of what a layer keeps besides params, such as running statistics."""

ArrayFn: TypeAlias = Callable[..., Any]
"""A plain function on arrays, such as `nn.relu`."""


def __dir__() -> list[str]:
    return __all__
