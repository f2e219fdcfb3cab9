"""The arguments of a compiled call: which are arrays, constants, static."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from lucid_fn import tree
from lucid_fn.transforms.arguments import (
    as_array,
    describe,
    is_foreign,
    leaf_paths,
    name_of,
    remedy,
    signature_of,
)
from lucid_fn.transforms.widening import (
    Numbers,
    is_weak,
    that_widen,
    with_double_floats,
)
from lucid_fn.tree.structure import collect_as
from lucid_fn.types import Array


class Call(NamedTuple):
    """The arguments of one call, sorted by what compilation does with them."""

    arrays: list[Any]  # and numbers, where `widening` puts them back
    constants: tuple[tuple[int, Any], ...]  # place among the leaves, bool or str
    structure: tree.Structure
    static: tuple[tuple[str, Hashable], ...]  # name and value of static arguments
    numbers: Numbers  # those that become arrays and could change a dtype

    def key(self) -> Hashable:
        """What calls of one compiled function have in common."""
        static = tuple((name, _typed(value)) for name, value in self.static)
        numbers = tuple(place for place, _ in self.numbers)
        return self.structure, self.constants, static, numbers


def _typed(value: Any) -> Hashable:
    """A static value such that two are equal where a trace may serve both.

    Python has `1 == 1.0 == True`, `0.0 == -0.0`, and `nan != nan`.
    """
    if isinstance(value, float | complex | np.inexact):
        return type(value), repr(value)
    inner = tuple(map(_typed, value)) if isinstance(value, tuple) else value
    return type(value), inner


def static_places(
    fn: Callable[..., Any], static_argnames: str | Sequence[str], names: list[str]
) -> dict[str, int | None]:
    """The position of each static parameter; `None` if it is keyword-only."""
    wanted = [static_argnames] if isinstance(static_argnames, str) else static_argnames
    if not isinstance(wanted, list | tuple) or any(
        not isinstance(item, str) for item in wanted
    ):
        raise TypeError(
            "jit: static_argnames must be a name or a sequence of names, got "
            f"{static_argnames!r}"
        )
    if not wanted:
        return {}
    if (signature := signature_of(fn)) is None:
        raise ValueError(
            f"jit: static_argnames must name parameters of `{name_of(fn)}`, which are "
            "not known to Python; wrap it in a function of your own"
        )
    parameters = signature.parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for item in wanted:
        if item not in parameters and not takes_any:
            raise ValueError(
                f"jit: static_argnames must name parameters of "
                f"`{name_of(fn)}({', '.join(parameters)})`, got {item!r}"
            )
    return {item: names.index(item) if item in names else None for item in wanted}


def to_call(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    static: dict[str, int | None],
    names: list[str],
    name: str,
    *,
    double: bool,
) -> Call:
    """The call of the function `name` with these arguments.

    With `double` Python's floats become float64 arrays, and also where an argument has
    that dtype.
    """
    values: list[tuple[str, Hashable]] = []
    for item, place in static.items():
        if item in kwargs:
            values.append((item, kwargs[item]))
            kwargs = {k: v for k, v in kwargs.items() if k != item}
        elif place is not None and place < len(args):
            values.append((item, args[place]))
            args = (*args[:place], None, *args[place + 1 :])
    for item, value in values:
        if not _is_constant(value):
            raise TypeError(
                f"jit: the static argument {item!r} of `{name}` must be hashable and "
                f"hold no array, got {describe(value)}"
            )
    leaves, structure = tree.flatten((args, kwargs))
    arrays: list[Array] = []
    constants: list[tuple[int, Any]] = []
    numbers: list[tuple[int, Any]] = []
    for i, leaf in enumerate(leaves):
        if type(leaf) is mx.array:
            arrays.append(leaf)
        elif isinstance(leaf, bool | str | np.bool_):
            constants.append((i, bool(leaf) if isinstance(leaf, np.bool_) else leaf))
        elif (array := as_array(leaf)) is not None:
            if is_weak(leaf):
                numbers.append((len(arrays), leaf))
            arrays.append(array)
        else:
            fixes = [remedy(leaf)]
            if not is_foreign(leaf):
                fixes.append(
                    "name the parameter in static_argnames if it is a constant"
                )
            raise TypeError(
                f"jit: {leaf_paths(names, args, kwargs)[i]} of `{name}` must be an "
                "array, a number, a bool, a string, None or a tree of these, got "
                f"{describe(leaf)}; {'; '.join(filter(None, fixes))}"
            )
    if numbers and (double or any(x.dtype == mx.float64 for x in arrays)):
        arrays = with_double_floats(arrays, numbers)
    weak = that_widen(tuple(numbers), arrays)
    return Call(arrays, tuple(constants), structure, tuple(values), weak)


_ARRAYS = {mx.array}


def arrays_like(
    structure: tree.Structure, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[Array] | None:
    """The arrays of a call that has this structure and arrays only; else `None`.

    Most calls are like the one before, and this takes a third of what `to_call` does.
    """
    leaves: list[Any] = []
    if collect_as(structure, (args, kwargs), leaves) and set(map(type, leaves)) == (
        _ARRAYS
    ):
        return leaves
    return None


def _is_constant(value: Any) -> bool:
    """Whether a static value can be compared with that of another call."""
    try:
        hash(value)
    except TypeError:
        return False
    items = value if isinstance(value, tuple) else (value,)
    return not any(isinstance(item, mx.array) or is_foreign(item) for item in items)


def from_call(
    call: Call, static: dict[str, int | None]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments to call the function with; the inverse of `to_call`."""
    leaves: list[Any] = list(call.arrays)
    for index, constant in call.constants:
        leaves.insert(index, constant)
    args, kwargs = tree.unflatten(call.structure, leaves)
    for item, value in call.static:
        place = static[item]
        if place is not None and place < len(args) and item not in kwargs:
            args = (*args[:place], value, *args[place + 1 :])
        else:
            kwargs = {**kwargs, item: value}
    return args, kwargs
