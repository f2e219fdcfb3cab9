"""What losses of regions share: `(N, ..., num_classes)`, summed over positions."""

from lucid_fn import ops
from lucid_fn.types import Array


def check_regions(caller: str, predictions: Array) -> None:
    """Raises unless there is an axis of examples and one of classes."""
    if predictions.ndim < 2:
        raise ValueError(
            f"{caller}: predictions must have shape (N, ..., num_classes), got "
            f"{predictions.shape}"
        )


def area(x: Array) -> Array:
    """The sum over all positions: `(N, ..., C)` to `(N, C)`."""
    return ops.sum(x, axis=tuple(range(1, x.ndim - 1)))
