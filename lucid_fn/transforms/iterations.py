"""The compiled body of a loop, and its iterations one after the other."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn.ops import mlx_transforms, seam
from lucid_fn.tracing import is_mapping, is_tracing, lazily, start
from lucid_fn.transforms.compilation import compiled, compiling, is_lost
from lucid_fn.transforms.untraced import untraced
from lucid_fn.types import Array

Arrays: TypeAlias = list[Array]
Step: TypeAlias = Callable[[Arrays, Arrays, Arrays], tuple[Arrays, Arrays]]
"""From constants, carry and input of an iteration to its carry and output."""

MAX_UNROLLED = 2048
"""Maximum length of a loop inside a compiled function, which unrolls it."""

# Iterations between two starts of the evaluation: their graph is still in the core's
# cache, and an iteration takes a third less than in one graph of 400.
_STRETCH = 16

# An iteration with results of this size starts once the previous one has ended.
_LARGE = 16 * 2**20  # bytes


class TooLongError(ValueError):
    """A loop has too many iterations to be unrolled in a compiled function."""


class Sizes(NamedTuple):
    """How many arrays a body takes of each kind; all others are stacked inputs."""

    constants: int
    carry: int
    unstacked: int = 0  # inputs that are a list of arrays, one per iteration

    def cut(self, flat: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        a, b = self.constants, self.constants + self.carry
        return list(flat[:a]), list(flat[a:b]), list(flat[b:])


class Body:
    """An iteration, compiled at its first call, and the bodies derived from it.

    Args:
        step: from constants, carry and input of an iteration to its carry and output.
        sizes: how many arrays the iteration takes of each kind.
        keeps: whether its last outputs are the carry before the iteration.
        waits: whether derivatives recompute it only when the backward pass gets there.
    """

    def __init__(
        self, step: Step, sizes: Sizes, *, keeps: bool = False, waits: bool = False
    ) -> None:
        seam.prepare_compiler()  # MLX compiles the first kernels soon
        self.step = step
        self.sizes = sizes
        self.keeps = keeps
        self.waits = waits
        self.output_shapes: list[tuple[int, ...]] = []  # since the first iteration
        self._compiled = compiled(self._traced)
        self._compiles = True
        self._derived: dict[Hashable, Body] = {}

    def derived(self, key: Hashable, make: Callable[[], "Body"]) -> "Body":
        if key not in self._derived:
            self._derived[key] = make()
        return self._derived[key]

    def __call__(self, arrays: Arrays) -> Arrays:
        """Run one iteration: the carry after it, and its outputs, each of ndim >= 1."""
        if self._compiles and compiling.get() and not is_plain():
            try:
                return self._call(arrays)
            except TooLongError:
                if is_tracing():
                    raise  # nor can the function that is being traced hold the loop
            except IndexError as error:
                if not is_lost(error):
                    raise
            self._compiles = False
        return self._run(arrays)

    def _call(self, arrays: Arrays) -> Arrays:
        try:
            return list(self._compiled(*arrays))
        except ValueError as error:
            if "uncaptured inputs" not in str(error):
                raise
            # The iteration also reads one of the arrays as a global variable, and MLX
            # takes both for the same input. So the arguments become other arrays.
            return list(self._compiled(*map(mx.stop_gradient, arrays)))

    def _traced(self, *arrays: Array) -> Arrays:
        with lazily():
            return self._run(arrays)

    def _run(self, arrays: Sequence[Array]) -> Arrays:
        after, outputs = self.step(*self.sizes.cut(arrays))
        self.output_shapes = [y.shape for y in outputs]
        return [*after, *(y if y.ndim else mx.expand_dims(y, 0) for y in outputs)]


def run_iterations(
    body: Body,
    arrays: Arrays,
    length: int,
    reverse: bool,
    *,
    unstacked: Sequence[Arrays] = (),
    kept: list[Arrays] | None = None,
    starts: bool = False,
) -> Arrays:
    """All iterations, one after the other.

    `unstacked` has the inputs that are not stacked, and `kept` gets the carry before
    each iteration, both in the order of the inputs.
    """
    constants, carry, stacked = body.sizes.cut(arrays)
    inputs = [_entries(x, length) for x in stacked]
    size = len(carry)
    outputs: list[Arrays] = []
    in_flight: Arrays = []
    stretch = _STRETCH
    for i in range(length):
        t = length - 1 - i if reverse else i
        if kept is not None:
            kept.append(carry)
        own = unstacked[t] if unstacked else []
        out = body([*constants, *carry, *own, *(x[t] for x in inputs)])
        carry = out[:size]
        outputs.append(out[size:])
        if i == 0 and sum(array.nbytes for array in out) > _LARGE:
            stretch = 1
        if starts and i % stretch == stretch - 1:
            mx.eval(in_flight)  # so that memory does not grow with the iterations
            start(out)
            in_flight = out
    if reverse:
        outputs.reverse()
        if kept is not None:
            kept.reverse()
    ys = [mx.concatenate(list(ys)) for ys in zip(*outputs, strict=True)]
    shapes = [(length, *shape) for shape in body.output_shapes]
    return [*carry, *(y.reshape(s) for y, s in zip(ys, shapes, strict=True))]


def _entries(x: Array, length: int) -> Arrays:
    """The entries of axis 0.

    Those of 2 axes or more are split from `(length * n, ...)`, since removing an axis
    from each would be one more operation per iteration.
    """
    if x.ndim == 1 or not x.size:
        return [mx.squeeze(part, 0) for part in _parts(x, length)]
    return _parts(x.reshape(-1, *x.shape[2:]), length)


def _parts(x: Array, number: int) -> Arrays:
    """Equal parts of axis 0, by small splits.

    Each result of a split visits all the others when it is freed. In a trace there are
    slices: MLX cannot compile a split whose results are not all used.
    """
    rows = len(x) // number
    if is_tracing():
        return [x[i * rows : (i + 1) * rows] for i in range(number)]
    starts = range(0, len(x), _STRETCH * rows)
    pieces = [x[i : i + _STRETCH * rows] for i in starts]
    return [part for piece in pieces for part in mx.split(piece, len(piece) // rows)]


def is_plain() -> bool:
    """Whether the graph may hold MLX's operations only, and no compiled functions."""
    return is_mapping() or mlx_transforms.is_exporting()


def build(iterations: Callable[..., Arrays], *args: Any) -> Arrays:
    """The lazy results of iterations, built outside of the transformations around."""
    return iterations(*args) if is_plain() else untraced(iterations, *args)
