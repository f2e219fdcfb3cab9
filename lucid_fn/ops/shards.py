"""A batch that stays divided between the operations it goes through.

An operation that divides its batch among streams (`lucid_fn.ops.streams`) has to join
the parts at its end, a copy of everything, and what is between such operations runs on
one core. `Shards` goes through a chain of operations as it is, each part on its own
stream from the first operation to the last and all the way back: on two cores a train
step of ResNet-18 takes 5 to 15 % less time.
"""

from collections.abc import Callable, Sequence
from functools import partial, wraps
from itertools import accumulate
from typing import Any, TypeVar, cast
from weakref import ref

import mlx.core as mx

from lucid_fn.ops.formulation import tuned
from lucid_fn.ops.streams import count, current_shard, on_shard, split
from lucid_fn.types import Array

# Numbers of a batch below which handing over to streams takes longer than computing.
# A step of LeNet-5 with 64 images, 50,176 numbers, takes 1.9 ms in parts, 2.3 ms whole.
_LEAST = 40_000
_FEWEST_ROWS = 64  # of a shard of vectors: each shard reads the matrix they meet
_FEWEST_EXAMPLES = {2: 1, 3: 2, 4: 1}  # of a shard, by axes; odd numbers divide badly

Fn = TypeVar("Fn", bound=Callable[..., Any])


def map_parts(fn: Callable[..., Any], *batches: Sequence[Any]) -> list[Any]:
    """`fn` of the parts of each batch, on the part's stream; a single part stays."""
    if len(batches[0]) == 1:
        return [fn(*(batch[0] for batch in batches))]
    results = []
    for shard, parts in enumerate(zip(*batches, strict=True)):
        with on_shard(shard):
            results.append(fn(*parts))
    return results


class Shards:
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

    def map(self, fn: Callable[..., Array], *others: "Shards") -> "Shards":
        """`fn` of each part, on the part's stream."""
        return Shards(map_parts(fn, self.parts, *(other.parts for other in others)))

    def astype(self, dtype: mx.Dtype) -> "Shards":
        """Each part in another dtype."""
        return self.map(lambda part: part.astype(dtype))


def divide(x: Any) -> Any:
    """`x` as `Shards` where that is worth it: many numbers, on a CPU of several cores.

    Images `(N, H, W, C)`; sequences `(N, L, F)` and vectors `(N, F)` if there are many:
    a product of few rows takes as long as reading its matrix does, which every shard
    reads. Anything else is returned as it is. `Shards` of few numbers are joined.
    """
    if isinstance(x, Shards):
        return x if x.size >= _LEAST else x.join()
    if not isinstance(x, mx.array) or not mx.issubdtype(x.dtype, mx.floating):
        return x
    fewest = _FEWEST_EXAMPLES.get(x.ndim)
    if fewest is None or x.size < _LEAST or current_shard() is not None or not tuned():
        return x
    if x.ndim < 4 and x.size // x.shape[-1] < _FEWEST_ROWS * count():
        return x
    if not 2 <= count() <= x.shape[0] // fewest:
        return x
    return Shards(split(x), whole=x)


def join(x: Any) -> Any:
    """The array that `Shards` are, also in a named tuple; anything else as it is."""
    if isinstance(x, Shards):
        return x.join()
    return x._make(map(join, x)) if holds_shards(x) else x


def holds_shards(x: Any) -> bool:
    """Whether `x` is `Shards`, or a named tuple with some."""
    return any(isinstance(y, Shards) for y in (x if hasattr(x, "_make") else (x,)))


def add(a: Any, b: Any) -> Any:
    """`a + b`, where either may be `Shards`."""
    if isinstance(a, Shards) and isinstance(b, Shards) and a.shape == b.shape:
        return a.map(lambda a, b: a + b, b)
    return join(a) + join(b)


def examplewise(fn: Fn) -> Fn:
    """Marks `fn(x, ...)`, which treats the entries of axis 0 independently.

    It then takes `Shards` too, and computes each part on its stream. Errors are those
    of the whole batch.
    """

    @wraps(fn)
    def divided(x: Any, *args: Any, **options: Any) -> Any:
        return map_examples(lambda x: fn(x, *args, **options), x)

    return accepts_shards(cast(Fn, divided))


def map_examples(fn: Callable[..., Any], x: Any, *others: Any) -> Any:
    """`fn(x, *others)`, on the parts of all where `x` is `Shards`.

    Each of the others is an array or `Shards` with as many examples, or `None`. The
    result is an array or a tuple of arrays, and then of `Shards`. Errors are those of
    the whole batch, as in `examplewise`.
    """
    if isinstance(x, Shards):
        try:
            parts = [x.parts if y is x else _parts_like(y, x) for y in others]
            results = map_parts(fn, x.parts, *parts)
        except (TypeError, ValueError):
            pass
        else:
            if isinstance(results[0], tuple):
                return tuple(map(Shards, map(list, zip(*results, strict=True))))
            return Shards(results)
    whole = join(x)  # what was one argument, given twice, still is one
    return fn(whole, *(whole if y is x else join(y) for y in others))


def _parts_like(x: Any, like: Shards) -> list[Any]:
    """`x` in parts of as many examples as those of `like`."""
    if x is None:
        return [None] * len(like.parts)
    if isinstance(x, Shards):
        return x.parts
    lengths = [part.shape[0] for part in like.parts]
    if sum(lengths) != x.shape[0]:
        raise ValueError("another number of examples")
    return list(mx.split(x, list(accumulate(lengths))[:-1]))


def apart(fn: Callable[..., Array]) -> Callable[..., Array]:
    """`fn`, elementwise on parts of one shape, as computations of their own.

    `mx.compile` takes what is spread to equal shapes on two streams, a constant or a
    number a channel, for one array: only the first stream's kernel would spread it by
    itself, all others wait for it and walk through memory number by number, 5 times as
    slow. Here each shard has a shape of its own, with leading axes of length 1.
    """

    def run(*parts: Array) -> Array:
        shard = current_shard()
        if not shard:
            return fn(*parts)
        shape = parts[0].shape
        ones = [1] * shard
        return fn(*(part.reshape(*ones, *shape) for part in parts)).reshape(shape)

    return run


def parts_of(x: Any) -> list[Array]:
    """The parts of `Shards`; an array is its only part."""
    return x.parts if isinstance(x, Shards) else [x]


def from_parts(parts: list[Array]) -> Any:
    """`Shards` of these parts, or the array that is the only one."""
    return parts[0] if len(parts) == 1 else Shards(parts)


def accepts_shards(fn: Fn) -> Fn:
    """Marks `fn(x, ...)`, which does with `Shards` what it does with an array.

    The mark names the function that it is for: `functools.wraps` copies the attributes
    of a function to another, which knows nothing of `Shards`.
    """
    fn.takes_shards = ref(fn)  # type: ignore[attr-defined]  # ours, read just below
    return fn


def on_parts(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`fn`, which may be called with `Shards`: they are joined unless it takes them."""
    return fn if takes_shards(fn) else lambda x: fn(join(x))


def marked(fn: Fn, *, like: Any) -> Fn:
    """`fn`, which takes `Shards` if `like` does."""
    return accepts_shards(fn) if takes_shards(like) else fn


def takes_shards(fn: Any) -> bool:
    """Whether `fn`, perhaps with options bound by `partial`, accepts `Shards`."""
    if isinstance(fn, partial):
        return not fn.args and takes_shards(fn.func)
    mark = getattr(fn, "takes_shards", None)
    return mark is not None and mark() is fn
