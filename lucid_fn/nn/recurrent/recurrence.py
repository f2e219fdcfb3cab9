"""The shared implementation of recurrent layers and cells."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn import ops, random
from lucid_fn.checks import check_bool, check_count, check_integer, shape_error
from lucid_fn.nn.core.checks import (
    ParamShape,
    check_float,
    check_key,
    check_params,
    check_positive,
    check_rate,
)
from lucid_fn.nn.core.examplewise import over_examples
from lucid_fn.nn.core.layer import Layer
from lucid_fn.nn.dropout import drop
from lucid_fn.nn.recurrent.carry import LSTMCarry, RecurrentInputs, SequenceAndCarry
from lucid_fn.numerics import is_valid_label
from lucid_fn.ops import RecurrentWeights
from lucid_fn.ops.concatenation import split
from lucid_fn.ops.multiply_adds import count_multiply_adds
from lucid_fn.ops.seam import chunks_of_sequence, computing_branch
from lucid_fn.tracing import started
from lucid_fn.types import Array, ArrayFn, Key, Params, State

Carry: TypeAlias = tuple[Array, ...]  # of arrays (N, hidden_size); output comes first
Recurrence: TypeAlias = Callable[..., tuple[Array, Carry]]  # as `ops.rnn`

# Minimum multiplications of a step at which the batch is divided among the cores. Two
# halves of 4 million take as long as the whole, of 6 million 0.85 of its time, and of
# 2 million 1.4 times as long.
_MIN_MULTIPLICATIONS = 5 << 20


class Kind(NamedTuple):
    """A kind of recurrence: its number of gates, arrays in its carry, and function."""

    gates: int
    arrays: int
    run: Recurrence


def rnn_kind(activation: ArrayFn) -> Kind:
    """The `Kind` of an Elman network."""
    return Kind(1, 1, partial(ops.rnn, activation=activation))


GRU = Kind(3, 1, ops.gru)
LSTM = Kind(4, 2, ops.lstm)


def recurrent(
    caller: str,
    kind: Kind,
    input_size: int,
    hidden_size: int,
    *,
    num_layers: int,
    bidirectional: bool,
    bias: bool,
    rate: float,
    proj_size: int = 0,
) -> Layer:
    """The layer that runs a recurrence over sequences; see `rnn` and `lstm`."""
    check_bool(caller, bidirectional=bidirectional, bias=bias)
    input_size, hidden_size, num_layers = check_positive(
        caller, input_size=input_size, hidden_size=hidden_size, num_layers=num_layers
    )
    rate = check_rate(caller, rate)
    _check_projection(caller, proj_size, hidden_size)
    ends = ("", "_reverse") if bidirectional else ("",)
    directions = len(ends)
    suffixes = [f"_l{i}{end}" for i in range(num_layers) for end in ends]
    out_size = proj_size or hidden_size
    carry_sizes = (out_size, hidden_size)[: kind.arrays]

    shapes: dict[str, ParamShape] = {}
    for k, suffix in enumerate(suffixes):
        columns = input_size if k < directions else directions * out_size
        shapes |= weight_shapes(kind, columns, hidden_size, bias, suffix, proj_size)

    def init(key: Key, /) -> tuple[Params, State]:
        return started(draw(key, hidden_size, shapes)), {}

    def prepare(
        params: Params, x: Any, train: bool, key: Key | None
    ) -> tuple[Callable[..., Any], list[Any]]:
        check_params(caller, params, **shapes)
        inputs = _to_inputs(caller, x)
        x, lengths = inputs.sequence, inputs.lengths
        check_float(caller, x=x)
        if x.ndim != 3 or x.shape[-1] != input_size:
            raise shape_error(caller, "x", x, f"(N, L, {input_size})", axes=3)
        n, length, _ = x.shape
        _check_lengths(caller, lengths, n)
        drops = train and rate > 0 and num_layers > 1
        key = check_key(caller, key) if drops else None
        carry_shapes = [(n, len(suffixes), size) for size in carry_sizes]
        carry = unpack_carry(caller, kind, inputs.carry, carry_shapes, x.dtype)
        kept: list[Array] = []
        if key is not None:
            shape = n, length, directions * out_size
            subkeys = (random.fold_in(key, f"dropout{i}") for i in range(1, num_layers))
            kept = [random.bernoulli(subkey, 1 - rate, shape) for subkey in subkeys]

        def run_layers(
            x: Array, lengths: Array | None, *arrays: Array
        ) -> tuple[Array, ...]:
            carry, kept = arrays[: kind.arrays], arrays[kind.arrays :]
            # One for each direction of each layer, which goes from chunk to chunk.
            carries = [
                tuple(array[:, k] for array in carry) for k in range(len(suffixes))
            ]

            def run_direction(
                k: int, x: Array, lengths: Array | None, kept: list[Array]
            ) -> Array:
                if kept and k >= directions:
                    x = drop(x, kept[k // directions - 1], rate)
                y, carries[k] = run(kind, params, suffixes[k], x, carries[k], lengths)
                return y

            chunks, outputs = concurrent_chunks(x), []
            sizes = chunks or [x.shape[1]]
            for y, chunk_lengths, masks in _in_chunks(sizes, x, lengths, kept):
                for first in range(0, len(suffixes), directions):
                    layer_outputs = []
                    for k in range(first, first + directions):
                        with computing_branch(k) if chunks else nullcontext():
                            out = run_direction(k, y, chunk_lengths, masks)
                        layer_outputs.append(out)
                    y = _concatenate(layer_outputs, axis=-1)
                outputs.append(y)
            y = _concatenate(outputs, axis=1)
            # Not by `mx.stack`, as the outputs are: `mx.compile` would merge the parts
            # of both, and lose a carry that is an auxiliary of a gradient.
            last = [
                mx.concatenate(list(each), axis=1).reshape(len(y), len(each), size)
                for each, size in zip(
                    zip(*carries, strict=True), carry_sizes, strict=True
                )
            ]
            return y, *last

        return run_layers, [x, lengths, *carry, *kept]

    def multiplications(x: Any) -> int:
        n: int = x.shape[0]
        return n * kind.gates * hidden_size**2

    def concurrent_chunks(x: Any) -> list[int] | None:
        length: int = x.shape[1]
        return chunks_of_sequence(length, num_layers, directions, multiplications(x))

    def is_large(x: Any) -> bool:
        return multiplications(x) >= _MIN_MULTIPLICATIONS and not concurrent_chunks(x)

    def pack(y: Array, *last: Array) -> SequenceAndCarry:
        return SequenceAndCarry(y, pack_carry(last))

    return over_examples(prepare, init=init, divides=is_large, pack=pack)


def _in_chunks(
    sizes: Sequence[int], x: Array, lengths: Array | None, kept: Sequence[Array]
) -> Iterator[tuple[Array, Array | None, list[Array]]]:
    """Chunks of `sizes` steps of a batch `(N, L, D)`, its lengths and dropout masks.

    The lengths of a chunk are the numbers of steps that it has of each sequence.
    """
    if len(sizes) == 1:
        yield x, lengths, list(kept)
        return
    starts = accumulate(sizes, initial=0)
    for start, chunk in zip(starts, split(x, sizes, axis=1), strict=False):
        size = chunk.shape[1]
        chunk_lengths = None
        if lengths is not None:
            valid = is_valid_label(lengths, x.shape[1] + 1)
            rest = mx.clip(lengths.astype(mx.int32) - start, 0, size)
            chunk_lengths = mx.where(valid, rest, -1)  # -1 is out of range as well
        yield chunk, chunk_lengths, [mask[:, start : start + size] for mask in kept]


def _concatenate(arrays: Sequence[Array], axis: int) -> Array:
    """The arrays concatenated along an axis; a single one as it is."""
    return arrays[0] if len(arrays) == 1 else mx.concatenate(list(arrays), axis=axis)


def _to_inputs(caller: str, x: Any) -> RecurrentInputs:
    if isinstance(x, SequenceAndCarry):  # or a chain would pass on the carry too
        raise TypeError(
            f"{caller}: x must be an array or nn.RecurrentInputs, got the "
            "SequenceAndCarry that a recurrent layer returns; pass on y.sequence, as "
            f"in nn.serial(..., lambda y: y.sequence, {caller}(...)), or start from a "
            "carry with nn.RecurrentInputs(x, carry)"
        )
    if isinstance(x, RecurrentInputs):
        return x
    if isinstance(x, tuple):
        raise TypeError(
            f"{caller}: x must be an array or nn.RecurrentInputs, got "
            f"{type(x).__name__}; for sequences of several lengths write "
            "nn.RecurrentInputs(x, lengths=lengths); if it is the pair (y, state) that "
            "apply returns, pass y alone"
        )
    return RecurrentInputs(x)


def _check_lengths(caller: str, lengths: Any, n: int) -> None:
    if lengths is None:
        return
    check_integer(caller, lengths=lengths)
    if lengths.shape != (n,):
        raise shape_error(caller, "lengths", lengths, f"({n},), one for each sequence")


def _check_projection(caller: str, proj_size: Any, hidden_size: int) -> None:
    size = check_count(caller, "proj_size", proj_size, at_least=None)
    if not 0 <= size < hidden_size:
        raise ValueError(
            f"{caller}: proj_size must be at least 0 and less than hidden_size, "
            f"{hidden_size}, got {proj_size}; 0 means no projection"
        )


def weight_shapes(
    kind: Kind,
    columns: int,
    hidden_size: int,
    bias: bool,
    suffix: str,
    proj_size: int = 0,
) -> dict[str, ParamShape]:
    """Shapes of the params of one direction of one layer, with PyTorch's names."""
    rows = kind.gates * hidden_size
    shapes: dict[str, ParamShape] = {
        f"weight_ih{suffix}": (rows, columns),
        f"weight_hh{suffix}": (rows, proj_size or hidden_size),
        f"bias_ih{suffix}": (rows,) if bias else None,
        f"bias_hh{suffix}": (rows,) if bias else None,
    }
    if proj_size:
        shapes[f"weight_hr{suffix}"] = (proj_size, hidden_size)
    return shapes


def draw(key: Key, hidden_size: int, shapes: dict[str, ParamShape]) -> Params:
    """Draws params uniform in +-1/sqrt(hidden_size), as PyTorch does."""
    bound = 1 / math.sqrt(hidden_size)
    return {
        name: random.uniform(random.fold_in(key, name), shape, low=-bound, high=bound)
        for name, shape in shapes.items()
        if shape is not None
    }


def run(
    kind: Kind,
    params: Params,
    suffix: str,
    x: Array,
    carry: Carry,
    lengths: Array | None = None,
) -> tuple[Array, Carry]:
    """The outputs and the last carry of one direction of one layer."""
    weights = RecurrentWeights(
        *(params[f"{name}{suffix}"] for name in ("weight_ih", "weight_hh")),
        *(params.get(f"{name}{suffix}") for name in RecurrentWeights._fields[2:]),
    )
    products = sum(w.size for w in weights if w is not None and w.ndim == 2)
    count_multiply_adds(x.shape[0] * x.shape[1] * products)
    reverse = suffix.endswith("_reverse")
    return kind.run(x, weights, carry, lengths=lengths, reverse=reverse)


def unpack_carry(
    caller: str,
    kind: Kind,
    carry: Any,
    shapes: Sequence[tuple[int, ...]],
    dtype: mx.Dtype,
) -> Carry:
    """The arrays of a public carry, after checks; zeros for `None`."""
    if carry is None:
        return tuple(mx.zeros(shape, dtype) for shape in shapes)
    if kind.arrays == 2 and not isinstance(carry, LSTMCarry):
        raise TypeError(
            f"{caller}: carry must be nn.LSTMCarry(hidden, cell), got "
            f"{type(carry).__name__}"
        )
    arrays = tuple(carry) if kind.arrays == 2 else (carry,)
    for array, shape in zip(arrays, shapes, strict=True):
        check_float(caller, carry=array)
        if array.shape != shape:
            raise shape_error(caller, "carry", array, shape)
    return arrays


def pack_carry(arrays: Any) -> Any:
    """The public carry of these arrays: the inverse of `unpack_carry`."""
    return LSTMCarry(*arrays) if len(arrays) == 2 else arrays[0]
