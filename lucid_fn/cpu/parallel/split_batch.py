"""A batch that stays divided among streams through a chain of operations.

An operation that divides its own batch (`streams.concat_split`) must copy the parts
into one array at its end, and whatever lies between such operations runs on one core.
The parts of a `DividedBatch` stay on their streams from the first operation to the
last, and in the backward pass: a train step of ResNet-18 on two cores takes 5 to 15 %
less time.
"""

import operator
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from lucid_fn.cpu.parallel.streams import concat, count, map_parts, split
from lucid_fn.ops.concatenation import split as split_array
from lucid_fn.ops.seam import current_part
from lucid_fn.types import Array

# Smallest batch that is divided: for smaller ones the overhead of streams exceeds the
# gain. LeNet-5 with 64 images (50,176 elements): 1.9 ms a step divided, 2.3 ms whole.
_MIN_SIZE = 40_000
_MIN_ROWS = 64  # of a part of vectors, since each part reads the whole weight matrix
_MIN_EXAMPLES = {2: 1, 3: 2, 4: 1}  # of a part, by `ndim`; odd numbers divide badly


def _arithmetic(fn: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """The operator `fn` of arrays, for divided batches."""

    def run(self: "DividedBatch", other: Any) -> Any:
        if isinstance(other, DividedBatch):
            if other.shape == self.shape:
                return self.map(fn, other)
            other = other.join()
        # An operand with fewer axes is broadcast along the examples, in each part.
        if not isinstance(other, mx.array) or other.ndim < self.ndim:
            return self.map(lambda part: fn(part, other))
        return fn(self.join(), other)

    return run


class DividedBatch:
    """A batch in parts along axis 0; `shape`, `dtype` etc. are those of the whole."""

    def __init__(self, parts: list[Array], whole: Array | None = None) -> None:
        self.parts = parts
        self._whole = whole

    @property
    def shape(self) -> tuple[int, ...]:
        length = sum(part.shape[0] for part in self.parts)
        return (length, *self.parts[0].shape[1:])

    @property
    def ndim(self) -> int:
        return self.parts[0].ndim

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)

    @property
    def dtype(self) -> mx.Dtype:
        return self.parts[0].dtype

    def join(self) -> Array:
        """The batch as one array."""
        return concat(self.parts) if self._whole is None else self._whole

    def map(self, fn: Callable[..., Array], *others: "DividedBatch") -> "DividedBatch":
        """Apply `fn` to each part, on the stream of that part."""
        batches = (self.parts, *(other.parts for other in others))
        return DividedBatch(map_parts(fn, *batches))

    def astype(self, dtype: mx.Dtype) -> "DividedBatch":
        """The batch in another dtype."""
        return self.map(lambda part: part.astype(dtype))

    def __neg__(self) -> "DividedBatch":
        return self.map(operator.neg)

    __add__ = _arithmetic(operator.add)
    __sub__ = _arithmetic(operator.sub)
    __mul__ = _arithmetic(operator.mul)
    __truediv__ = _arithmetic(operator.truediv)
    __pow__ = _arithmetic(operator.pow)
    __radd__ = _arithmetic(lambda a, b: b + a)
    __rsub__ = _arithmetic(lambda a, b: b - a)
    __rmul__ = _arithmetic(lambda a, b: b * a)
    __rtruediv__ = _arithmetic(lambda a, b: b / a)


def divide(x: Any) -> Any:
    """`x` as a divided batch if it is large enough and there are several cores.

    Divides images `(N, H, W, C)`, and sequences `(N, L, F)` and vectors `(N, F)` of
    many rows: a product of few rows is bound by reading its weight, which every part
    reads. Of a named tuple the first field is divided. Small divided batches are
    joined; anything else is returned unchanged.
    """
    if isinstance(x, DividedBatch):
        return x if x.size >= _MIN_SIZE else x.join()
    if isinstance(x, tuple) and hasattr(x, "_make"):
        return x._make((divide(x[0]), *x[1:]))
    if not isinstance(x, mx.array) or not mx.issubdtype(x.dtype, mx.floating):
        return x
    fewest = _MIN_EXAMPLES.get(x.ndim)
    if fewest is None or x.size < _MIN_SIZE or current_part() is not None:
        return x
    if x.ndim < 4 and x.size // x.shape[-1] < _MIN_ROWS * count():
        return x
    if not 2 <= count() <= x.shape[0] // fewest:
        return x
    return DividedBatch(split(x), whole=x)


def join(x: Any) -> Any:
    """Join a divided batch, also in a named tuple; return anything else unchanged."""
    if isinstance(x, DividedBatch):
        return x.join()
    if hasattr(x, "_make") and any(isinstance(y, DividedBatch) for y in x):
        return x._make(map(join, x))
    return x


def map_examples(fn: Callable[..., Any], x: Any, *others: Any) -> Any:
    """`fn(x, *others)`, part by part where `x` is a divided batch.

    Each of `others` is an array or divided batch of as many examples, or `None`. The
    result, an array or (named) tuple of arrays, is divided if `x` is. Errors are raised
    as for the whole batch.
    """
    if isinstance(x, DividedBatch):
        try:
            parts = [x.parts if y is x else _parts_like(y, x) for y in others]
            results = map_parts(fn, x.parts, *parts)
        except (TypeError, ValueError):
            pass
        else:
            first = results[0]
            if not isinstance(first, tuple):
                return DividedBatch(results)
            fields = map(DividedBatch, map(list, zip(*results, strict=True)))
            return first._make(fields) if hasattr(first, "_make") else tuple(fields)
    whole = join(x)  # `y is x` must hold for the joined arrays, too
    return fn(whole, *(whole if y is x else join(y) for y in others))


def _parts_like(x: Any, like: DividedBatch) -> list[Any]:
    """`x` in parts of the same lengths as those of `like`."""
    if x is None:
        return [None] * len(like.parts)
    if isinstance(x, DividedBatch):
        return x.parts
    lengths = [part.shape[0] for part in like.parts]
    if sum(lengths) != x.shape[0]:
        raise ValueError("different numbers of examples")
    return split_array(x, lengths, axis=0)


def distinct_shape_per_part(fn: Callable[..., Array]) -> Callable[..., Array]:
    """`fn`, elementwise on arrays of one shape, with a distinct shape for each part.

    `mx.compile` merges equal broadcasts (of a constant, or of a number for each
    channel) on different streams into one array. Only the first stream's kernel would
    fuse the broadcast; the others wait for it and read it with strides, 5 times as
    slow. So each part gets its own number of leading axes of length 1.
    """

    def run(*arrays: Array) -> Array:
        part = current_part()
        if not part:
            return fn(*arrays)
        shape = arrays[0].shape
        ones = [1] * part
        return fn(*(array.reshape(*ones, *shape) for array in arrays)).reshape(shape)

    return run


def parts_of(x: Any) -> list[Array]:
    """The parts of a divided batch; an array is its only part."""
    return x.parts if isinstance(x, DividedBatch) else [x]


def from_parts(parts: list[Array]) -> Any:
    """The divided batch of these parts, or the array that is the only one."""
    return parts[0] if len(parts) == 1 else DividedBatch(parts)
