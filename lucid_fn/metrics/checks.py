"""Checks that the metrics share: of kinds, dtypes and shapes, never of values."""

from typing import Any

import mlx.core as mx

from lucid_fn.types import Array


def check_array(caller: str, name: str, x: Any) -> None:
    """Raises unless `x` is an MLX array."""
    if not isinstance(x, mx.array):
        raise TypeError(
            f"{caller}: {name} must be an MLX array, got {type(x).__name__}; "
            f"convert it with mx.array({name})"
        )


def check_integer(caller: str, **arrays: Any) -> None:
    """Raises unless every argument is an MLX array of an integer dtype."""
    for name, x in arrays.items():
        check_array(caller, name, x)
        if not mx.issubdtype(x.dtype, mx.integer):
            raise TypeError(f"{caller}: {name} must be integers, got {x.dtype}")


def check_logits_and_labels(caller: str, logits: Any, labels: Any) -> None:
    """Raises unless `labels` holds one integer for each row of `logits`."""
    check_array(caller, "logits", logits)
    check_integer(caller, labels=labels)
    if logits.ndim == 0 or labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"{caller}: logits must have shape (..., num_classes) and labels shape "
            f"(...), got {logits.shape} and {labels.shape}"
        )


def check_same_shape(caller: str, **arrays: Array) -> None:
    """Raises unless the shapes are equal: broadcasting here is nearly always a slip."""
    (first, x), *others = arrays.items()
    for name, y in others:
        if y.shape != x.shape:
            raise ValueError(
                f"{caller}: {name} must have the shape of {first}, {x.shape}, got "
                f"{y.shape}"
            )
