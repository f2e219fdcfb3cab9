"""The functions that users give to loops, as bodies over flat arrays."""

import collections
import threading
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar

import mlx.core as mx
import numpy as np

from lucid_fn import tree
from lucid_fn.tracing import repeating
from lucid_fn.transforms import diagnosis
from lucid_fn.transforms.arguments import as_result, describe, remedy
from lucid_fn.transforms.closures import Converted
from lucid_fn.transforms.debugging import ShapeDtype, eval_shape
from lucid_fn.transforms.iterations import Arrays, Body, Sizes
from lucid_fn.transforms.surroundings import Surroundings
from lucid_fn.tree.mapping import describe as show
from lucid_fn.types import Array, Tree

T = TypeVar("T")
_MAX_KEPT = 128
_MAX_VALUES = 8  # of what one function reads


class Traced(NamedTuple):
    """A body that later loops over the same code use again."""

    body: Body
    structures: list[tree.Structure]  # of the outputs, since the first trace
    outside: Surroundings  # what it reads beyond its closure


class _Cache(threading.local):
    """The results used last; of each thread, as MLX's compiled functions are."""

    def __init__(self) -> None:
        self.entries: collections.OrderedDict[Hashable, list[_Entry]] = (
            collections.OrderedDict()
        )


class _Entry(NamedTuple):
    """A result for a function, and for what it reads beyond its closure."""

    result: Any
    function: Converted


_cache = _Cache()


def _cached(key: Hashable, function: Converted, make: Callable[[], T]) -> T:
    """`make()`, called once for each key and for what `function` reads."""
    entries = _cache.entries.setdefault(key, [])
    _cache.entries.move_to_end(key)
    if len(_cache.entries) > _MAX_KEPT:
        _cache.entries.popitem(last=False)
    entry = next((e for e in entries if e.function.outside.is_current()), None)
    if entry is None:
        entry = _Entry(make(), function)
        entries[_MAX_VALUES - 1 :] = []
    else:
        entries.remove(entry)
    entries.insert(0, entry)
    result: T = entry.result
    return result


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
    converted: Converted,
    carry: tree.Structure,
    inputs: tree.Structure,
    specs: Hashable,
    call: Callable[[Any, Tree, Tree], tuple[Tree, Tree]],
    caller: str,
) -> Traced:
    """The body of `call(fn, carry, inputs)`, which returns the carry and outputs."""
    stream = str(mx.default_stream(mx.default_device()))
    key = "body", caller, converted.key, carry, inputs, specs, stream

    def make() -> Traced:
        return _new_body(name, converted, carry, inputs, call, caller)

    return _cached(key, converted, make)


def _new_body(
    name: str,
    converted: Converted,
    carry: tree.Structure,
    inputs: tree.Structure,
    call: Callable[[Any, Tree, Tree], tuple[Tree, Tree]],
    caller: str,
) -> Traced:
    structures: list[tree.Structure] = []

    def step(constants: Arrays, before: Arrays, xs: Arrays) -> tuple[Arrays, Arrays]:
        given = tree.unflatten(carry, before), tree.unflatten(inputs, xs)
        with (
            diagnosis.explaining_value_reads(name, caller),
            repeating(caller),
            diagnosis.drawing_nothing(
                name,
                caller,
                "which would draw the same numbers at every iteration",
                "give it one key per iteration, for instance random.fold_in(key, i)",
            ),
        ):
            after, out = call(converted.rebuild(constants), *given)
        converted.outside.note_run()
        outputs, structure = arrays_of(out, "the output", caller)
        structures[:] = [structure]
        return check_carry(after, carry, before, name, caller), outputs

    sizes = Sizes(len(converted.arrays), _number_of_leaves(carry))
    return Traced(Body(step, sizes), structures, converted.outside)


def _number_of_leaves(structure: tree.Structure) -> int:
    if structure.kind is object:
        return 1
    return sum(map(_number_of_leaves, structure.children))


def with_dtypes(
    init: Tree,
    arrays: Arrays,
    converted: Converted,
    inputs: Hashable,
    after: Callable[[Tree], Tree],
) -> Arrays:
    """The leaves of an initial carry, Python's numbers in the dtypes of `after(init)`.

    So a loop from 0 may add up floats, and one from 0.0 float16, as in JAX. `after`
    must depend only on the function that is `converted` and on the key `inputs`.
    """
    leaves, structure = tree.flatten(init)
    weak = [isinstance(x, int | float) and not isinstance(x, bool) for x in leaves]
    if not any(weak):
        return arrays

    def find_dtypes() -> list[mx.Dtype]:
        try:
            new = tree.leaves(eval_shape(after, init))
        except Exception:
            new = []  # it expects arrays, or else the trace raises the error
        converted.outside.note_run()
        if len(new) != len(arrays):
            return [x.dtype for x in arrays]
        return list(map(_dtype_after, arrays, new))

    pairs = zip(leaves, arrays, strict=True)
    kinds = [(type(leaf), x.shape, x.dtype) for leaf, x in pairs]
    constants = [(x.shape, x.dtype) for x in converted.arrays]
    key = "dtypes", converted.key, structure, tuple(kinds), tuple(constants), inputs
    dtypes = _cached(key, converted, find_dtypes)
    return [
        x.astype(dtype) if is_number else x
        for x, dtype, is_number in zip(arrays, dtypes, weak, strict=True)
    ]


def _dtype_after(x: Array, new: Any) -> mx.Dtype:
    """The dtype of `new`, which a body makes of the number `x`, if that is no narrower.

    A body may turn an integer into a float, but not a float into an integer.
    """
    if isinstance(new, float) and not isinstance(new, np.generic):
        new = ShapeDtype((), mx.float32)
    is_dtype = isinstance(new, ShapeDtype) and _kind(x.dtype) <= _kind(new.dtype)
    return new.dtype if is_dtype else x.dtype


def _kind(dtype: mx.Dtype) -> int:
    """The rank of a dtype: 0 for bool, then integers, floats, complex numbers."""
    kinds = mx.integer, mx.floating, mx.complexfloating
    return next((i for i, k in enumerate(kinds, 1) if mx.issubdtype(dtype, k)), 0)


def check_carry(
    after: Tree, structure: tree.Structure, before: Arrays, name: str, caller: str
) -> Arrays:
    """The leaves of a carry, checked to have the types that they had before."""
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
    """A leaf of the carry that a body returns, checked against the one before."""
    array = as_result(new)
    if array is None:
        raise TypeError(
            f"{caller}: `{name}` must return arrays in the carry, got {describe(new)} "
            f"for {where}"
        )
    if not isinstance(new, mx.array) and _kind(array.dtype) <= _kind(old.dtype):
        array = array.astype(old.dtype)  # a number takes the dtype of the carry
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
