"""Stack items of a data set into a batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lucid_fn.numpy_arrays import check_numpy


def collate(items: Sequence[Any], indices: Sequence[int], path: str = "") -> Any:
    """Stack trees of equal structure along axis 0, into one tree of NumPy arrays.

    Args:
        items: dicts and tuples of arrays and numbers; tensors and images of other
            packages that NumPy can read count as arrays, as do lists of numbers.
        indices: the items' indices in their data set, for error messages.
        path: the items' path in the tree they are from, for error messages.

    Raises:
        TypeError: if a leaf is neither an array nor a number.
        ValueError: if structures or shapes differ.
    """
    first = items[0]
    if isinstance(first, dict):
        _check_alike(items, indices, path, lambda item: sorted(item))
        return {
            name: collate([item[name] for item in items], indices, _join(path, name))
            for name in first
        }
    if isinstance(first, tuple):
        _check_alike(items, indices, path, len)
        columns = [
            collate(column, indices, _join(path, i))
            for i, column in enumerate(zip(*items, strict=True))
        ]
        return type(first)(*columns) if hasattr(first, "_fields") else tuple(columns)
    return _stacked(items, indices, path)


def _join(path: str, name: Any) -> str:
    return f"{path}.{name}" if path else str(name)


def _check_alike(
    items: Sequence[Any], indices: Sequence[int], path: str, names: Any
) -> None:
    """Check that all items are containers of one type with the same children."""
    expected = type(items[0]), names(items[0])
    for item, index in zip(items, indices, strict=True):
        if type(item) is not expected[0] or names(item) != expected[1]:
            raise ValueError(
                f"loader: items must have equal structures, got {items[0]!r:.80} in "
                f"item {indices[0]} and {item!r:.80} in item {index}"
                + (f", {path}" if path else "")
            )


def _stacked(values: Sequence[Any], indices: Sequence[int], path: str) -> NDArray[Any]:
    kinds = set(map(type, values))
    if kinds == {int}:
        narrow = min(values) >= -(2**31) and max(values) < 2**31
        return np.array(values, np.int32 if narrow else np.int64)
    if kinds == {float}:
        return np.array(values, np.float32)
    arrays = [_array(v, i, path) for v, i in zip(values, indices, strict=True)]
    for array, index in zip(arrays, indices, strict=True):
        if array.shape != arrays[0].shape:
            raise ValueError(
                "loader: items of a batch must have equal shapes, got "
                f"{arrays[0].shape} in item {indices[0]} and {array.shape} in item "
                f"{index}{f' for {path}' if path else ''}; pad or crop them in "
                "transform"
            )
    return np.stack(arrays)


def _array(value: Any, index: int, path: str) -> NDArray[Any]:
    where = f"item {index}" + (f", {path}," if path else "")
    try:
        array = np.asarray(value)
        check_numpy("loader", where, array)
    except (
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:  # PyTorch: RuntimeError
        fix = "give a tuple" if isinstance(value, list) else "convert it in transform"
        raise TypeError(
            f"loader: {where} must be an array or a number, got "
            f"{type(value).__name__} {value!r:.60}; {fix}"
        ) from error
    if isinstance(value, list):  # Python's numbers, as in `_stacked`
        narrow = {np.dtype(np.int64): np.int32, np.dtype(np.float64): np.float32}
        return array.astype(narrow.get(array.dtype, array.dtype))
    return array
