"""The functions that users give to loops, as bodies over flat arrays."""

import collections
import threading
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

import mlx.core as mx
import numpy as np

from lucid_fn import tree
from lucid_fn.tracing import is_symbolic, repeating
from lucid_fn.transforms import diagnosis
from lucid_fn.transforms.arguments import as_result, describe, remedy
from lucid_fn.transforms.closures import Converted
from lucid_fn.transforms.debugging import ShapeDtype, eval_shape
from lucid_fn.transforms.turns import Arrays, Body, Sizes
from lucid_fn.tree.mapping import describe as show
from lucid_fn.types import Array, Tree

T = TypeVar("T")
_MAX_KEPT = 64


class Traced(NamedTuple):
    """What is kept of a body for the next loop over the same code."""

    body: Body
    structures: list[tree.Structure]  # of the outputs, since the first trace
    held: Any  # whose identities are in the key


class Dtypes(NamedTuple):
    """What is kept of the dtypes of a carry that began with numbers."""

    dtypes: list[mx.Dtype]
    held: Any


class _Traces(threading.local):
    """The bodies used last; of each thread, as MLX's compiled functions are."""

    def __init__(self) -> None:
        self.found: collections.OrderedDict[Hashable, Traced] = (
            collections.OrderedDict()
        )
        self.dtypes: collections.OrderedDict[Hashable, Dtypes] = (
            collections.OrderedDict()
        )


_traces = _Traces()


def _recalled(
    memory: collections.OrderedDict[Hashable, T], key: Hashable, make: Callable[[], T]
) -> T:
    if key not in memory:
        memory[key] = make()
    memory.move_to_end(key)
    if len(memory) > _MAX_KEPT:
        memory.popitem(last=False)
    return memory[key]


def arrays_of(values: Tree, what: str, caller: str) -> tuple[Arrays, tree.Structure]:
    """The leaves of a tree of arrays and numbers, as arrays."""
    leaves, structure = tree.flatten(values)
    arrays = []
    for i, leaf in enumerate(leaves):
        array = as_result(leaf)
        if array is None:
            where = f"{what}.{tree.paths(values)[i]}".rstrip(".")
            fix = remedy(leaf) or "read what is constant from outside of the function"
            raise TypeError(
                f"{caller}: {where} must be an array or a number, got "
                f"{describe(leaf)}; {fix}"
            )
        arrays.append(array)
    return arrays, structure


def body_of(
    name: str,
    made: Converted,
    carry: tree.Structure,
    inputs: tree.Structure,
    specs: Hashable,
    call: Callable[[Any, Tree, Tree], tuple[Tree, Tree]],
    caller: str,
) -> Traced:
    """The body of `call(fn, carry, inputs)`, which returns the carry and outputs."""
    key = (
        caller,
        made.key,
        carry,
        inputs,
        specs,
        str(mx.default_stream(mx.default_device())),
    )
    return _recalled(
        _traces.found, key, lambda: _new(name, made, carry, inputs, call, caller)
    )


def _new(
    name: str,
    made: Converted,
    carry: tree.Structure,
    inputs: tree.Structure,
    call: Callable[[Any, Tree, Tree], tuple[Tree, Tree]],
    caller: str,
) -> Traced:
    structures: list[tree.Structure] = []

    def turn(constants: Arrays, before: Arrays, xs: Arrays) -> tuple[Arrays, Arrays]:
        given = tree.unflatten(carry, before), tree.unflatten(inputs, xs)
        try:
            with (
                repeating(caller),
                diagnosis.drawing_nothing(
                    name,
                    caller,
                    "which would draw the same numbers at every turn",
                    "give it a key a turn, for instance random.fold_in(key, i)",
                ),
            ):
                after, out = call(made.rebuild(constants), *given)
        except (ValueError, RuntimeError) as error:
            if is_symbolic(error):
                raise diagnosis.value_read_error(error, name, caller) from error
            raise
        outputs, structure = arrays_of(out, "the output", caller)
        structures[:] = [structure]
        return check_carry(after, carry, before, name, caller), outputs

    return Traced(
        Body(turn, Sizes(len(made.arrays), _places(carry))), structures, made.held
    )


def _places(structure: tree.Structure) -> int:
    if structure.kind is object:
        return 1
    return sum(map(_places, structure.children))


def with_dtypes(
    init: Tree,
    arrays: Arrays,
    made: Converted,
    inputs: Hashable,
    after: Callable[[Tree], Tree],
) -> Arrays:
    """The leaves of an initial carry, Python's numbers in the dtypes of `after(init)`.

    So a loop from 0 may add up floats, and one from 0.0 float16, as in JAX. What `made`
    is of determines `after`, with the shapes and dtypes of `inputs`.
    """
    leaves, structure = tree.flatten(init)
    weak = [isinstance(x, int | float) and not isinstance(x, bool) for x in leaves]
    if not any(weak):
        return arrays

    def found() -> Dtypes:
        dtypes = [x.dtype for x in arrays]
        try:
            new = tree.leaves(eval_shape(after, init))
        except Exception:
            new = []  # it takes numbers for arrays; what is wrong the trace will tell
        if len(new) == len(arrays):
            dtypes = list(map(_dtype_after, arrays, new))
        return Dtypes(dtypes, made.held)

    kinds = [
        (type(leaf), x.shape, x.dtype) for leaf, x in zip(leaves, arrays, strict=True)
    ]
    closed = [(x.shape, x.dtype) for x in made.arrays]
    key = made.key, structure, tuple(kinds), tuple(closed), inputs
    known = _recalled(_traces.dtypes, key, found).dtypes
    return [
        x.astype(dtype) if is_number else x
        for x, dtype, is_number in zip(arrays, known, weak, strict=True)
    ]


def _dtype_after(x: Array, new: Any) -> mx.Dtype:
    """That of `new`, which a body makes of the number `x`, unless it is a lesser one.

    Of an integer a body may make a float, but not of a float an integer.
    """
    if isinstance(new, float) and not isinstance(new, np.generic):
        new = ShapeDtype((), mx.float32)
    is_dtype = isinstance(new, ShapeDtype) and _kind(x.dtype) <= _kind(new.dtype)
    return new.dtype if is_dtype else x.dtype


def _kind(dtype: mx.Dtype) -> int:
    """The place of a dtype in the order of bools, integers, floats, complex numbers."""
    kinds = mx.integer, mx.floating, mx.complexfloating
    return next((i for i, k in enumerate(kinds, 1) if mx.issubdtype(dtype, k)), 0)


def check_carry(
    after: Tree, structure: tree.Structure, before: Arrays, name: str, caller: str
) -> Arrays:
    """The leaves of a carry, which must have the types that they had before."""
    like = tree.unflatten(structure, before)

    def check(path: str, old: Array, new: Any) -> Array:
        return checked(f"carry.{path}".rstrip("."), old, new, name, caller)

    try:
        return tree.leaves(tree.map_with_path(check, like, after, caller="carry"))
    except ValueError as error:
        if not str(error).startswith("carry: structures differ"):
            raise
        raise TypeError(
            f"{caller}: `{name}` must return the carry with the structure that it was "
            f"given, {show(like)}, got {show(after)}; {error}"
        ) from None


def checked(where: str, old: Array, new: Any, name: str, caller: str) -> Array:
    """A leaf of the carry that a body returns, of the shape and dtype it had before."""
    array = as_result(new)
    if array is None:
        raise TypeError(
            f"{caller}: `{name}` must return arrays in the carry, got {describe(new)} "
            f"for {where}"
        )
    if not isinstance(new, mx.array) and _kind(array.dtype) <= _kind(old.dtype):
        array = array.astype(old.dtype)  # a number takes the dtype that is there
    if (array.shape, array.dtype) != (old.shape, old.dtype):
        fix = f"reduce or broadcast it to the shape {old.shape}"
        if array.shape == old.shape:
            fix = f"begin with {array.dtype}, or return it as .astype({old.dtype})"
        raise TypeError(
            f"{caller}: `{name}` must return the carry with the shapes and dtypes that "
            f"it was given, got {describe(array)} for {where}, which was "
            f"{describe(old)}; {fix.replace('mlx.core.', 'mx.')}"
        )
    return array
