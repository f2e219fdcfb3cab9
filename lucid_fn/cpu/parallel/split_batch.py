"""A batch that stays divided between the operations it goes through.

An operation that divides its batch among streams by itself (`streams.concat_split`) has
to join the parts at its end, a copy of everything, and what is between such operations
runs on one core. A `DividedBatch` goes through a chain of operations as it is, each
part on its own stream from the first operation to the last and all the way back: on two
cores a train step of ResNet-18 takes 5 to 15 % less time.
"""

import operator
from collections.abc import Callable
from typing import Any

import mlx.core as mx

from lucid_fn.cpu.parallel.streams import count, map_parts, split
from lucid_fn.ops.concatenation import split as split_array
from lucid_fn.ops.seam import current_part
from lucid_fn.types import Array

# Numbers of a batch below which handing over to streams takes longer than computing.
# A step of LeNet-5 with 64 images, 50,176 numbers, takes 1.9 ms in parts, 2.3 ms whole.
_LEAST = 40_000
_FEWEST_ROWS = 64  # of a part of vectors: each part reads the matrix they meet
_FEWEST_EXAMPLES = {2: 1, 3: 2, 4: 1}  # of a part, by axes; odd numbers divide badly


def _arithmetic(fn: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """An operator of divided batches, from that of arrays."""

    def run(self: "DividedBatch", other: Any) -> Any:
        if isinstance(other, DividedBatch):
            if other.shape == self.shape:
                return self.map(fn, other)
            other = other.join()
        # Broadcast along the examples, each part meets all of the other operand.
        if not isinstance(other, mx.array) or other.ndim < self.ndim:
            return self.map(lambda part: fn(part, other))
        return fn(self.join(), other)

    return run


class DividedBatch:
    """Parts of one batch along axis 0; `shape`, `dtype` and so on are the batch's."""

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
        return mx.concatenate(self.parts) if self._whole is None else self._whole

    def map(self, fn: Callable[..., Array], *others: "DividedBatch") -> "DividedBatch":
        """`fn` of each part, on the part's stream."""
        batches = (self.parts, *(other.parts for other in others))
        return DividedBatch(map_parts(fn, *batches))

    def astype(self, dtype: mx.Dtype) -> "DividedBatch":
        """Each part in another dtype."""
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
    """`x` as a divided batch where that pays: many numbers, and several cores.

    Images `(N, H, W, C)`; sequences `(N, L, F)` and vectors `(N, F)` if there are many:
    a product of few rows takes as long as reading its matrix does, which every part
    reads. Of a named tuple the first field is divided. Anything else is returned as it
    is, but for divided batches of few numbers, which are joined.
    """
    if isinstance(x, DividedBatch):
        return x if x.size >= _LEAST else x.join()
    if isinstance(x, tuple) and hasattr(x, "_make"):
        return x._make((divide(x[0]), *x[1:]))
    if not isinstance(x, mx.array) or not mx.issubdtype(x.dtype, mx.floating):
        return x
    fewest = _FEWEST_EXAMPLES.get(x.ndim)
    if fewest is None or x.size < _LEAST or current_part() is not None:
        return x
    if x.ndim < 4 and x.size // x.shape[-1] < _FEWEST_ROWS * count():
        return x
    if not 2 <= count() <= x.shape[0] // fewest:
        return x
    return DividedBatch(split(x), whole=x)


def join(x: Any) -> Any:
    """Joins a divided batch, also in a named tuple; all else is returned as it is."""
    if isinstance(x, DividedBatch):
        return x.join()
    if hasattr(x, "_make") and any(isinstance(y, DividedBatch) for y in x):
        return x._make(map(join, x))
    return x


def map_examples(fn: Callable[..., Any], x: Any, *others: Any) -> Any:
    """`fn(x, *others)`, part by part where `x` is a divided batch.

    Each of the others is an array or a divided batch with as many examples, or `None`.
    The result is an array or a tuple of arrays, named or not, and divided if `x` is.
    Errors are those of the whole batch.
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
    whole = join(x)  # what was one argument, given twice, still is one
    return fn(whole, *(whole if y is x else join(y) for y in others))


def _parts_like(x: Any, like: DividedBatch) -> list[Any]:
    """`x` in parts of as many examples as those of `like`."""
    if x is None:
        return [None] * len(like.parts)
    if isinstance(x, DividedBatch):
        return x.parts
    lengths = [part.shape[0] for part in like.parts]
    if sum(lengths) != x.shape[0]:
        raise ValueError("another number of examples")
    return split_array(x, lengths, axis=0)


def distinct_shape_per_part(fn: Callable[..., Array]) -> Callable[..., Array]:
    """`fn`, elementwise on arrays of one shape, which differs from part to part.

    `mx.compile` takes what is broadcast to equal shapes on two streams, a constant or a
    number a channel, for one array: only the first stream's kernel would broadcast it
    by itself, all others wait for it and walk through memory number by number, 5 times
    as slow. So each part gets a shape of its own, with leading axes of length 1.
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
