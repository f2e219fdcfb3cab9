"""The arguments of a call of a compiled function: arrays, constants and static ones."""

from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np

from lucid_fn import tree
from lucid_fn.checks import signature_of
from lucid_fn.transforms.arguments import (
    as_array,
    describe,
    is_foreign,
    leaf_paths,
    name_of,
    remedy,
)
from lucid_fn.transforms.widening import (
    Numbers,
    is_weak,
    widening,
    with_double_floats,
)
from lucid_fn.tree.structure import Collector, collect_as, collector as collector_of
from lucid_fn.types import Array


class Call(NamedTuple):
    """The arguments of one call, by what compilation does with them."""

    arrays: list[Any]  # and numbers, where `widening` puts them back
    constants: tuple[tuple[int, Any], ...]  # index among the leaves, bool or str
    structure: tree.Structure
    static: tuple[tuple[str, Hashable], ...]  # name and value of static arguments
    numbers: Numbers  # those that become arrays and could widen a dtype
    weak: Numbers  # all that become arrays
    double: bool  # whether floats become float64 arrays in any case

    def key(self) -> Hashable:
        """Equal for calls that one compiled function serves."""
        static = tuple((name, _typed(value)) for name, value in self.static)
        numbers = tuple(place for place, _ in self.numbers)
        return self.structure, self.constants, static, numbers

    def fits(self, arrays: list[Array]) -> bool:
        """Whether the numbers would become the same arrays beside these ones."""
        if not self.weak:
            return True
        filled, weak = _with_numbers(arrays, self.weak, self.double)
        same = [x.dtype for x in filled] == [x.dtype for x in arrays]
        places = [[place for place, _ in found] for found in (weak, self.numbers)]
        return same and places[0] == places[1]


def _typed(value: Any) -> Hashable:
    """A static value with its type, equal for two values that a trace may serve.

    In Python `1 == 1.0 == True`, `0.0 == -0.0`, and `nan != nan`.
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

    Python's floats become float64 arrays with `double`, and beside arguments of that
    dtype.
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
    arrays, wide = _with_numbers(arrays, tuple(numbers), double)
    return Call(
        *(arrays, tuple(constants), structure, tuple(values)),
        *(wide, tuple(numbers), double),
    )


def _with_numbers(
    arrays: list[Array], numbers: Numbers, double: bool
) -> tuple[list[Array], Numbers]:
    """The arrays, in float64 where floats become that, and the numbers that widen."""
    if not numbers:
        return arrays, ()
    places = {place for place, _ in numbers}
    others = (x for i, x in enumerate(arrays) if i not in places)
    if double or any(x.dtype == mx.float64 for x in others):
        arrays = with_double_floats(arrays, list(numbers))
    return arrays, widening(numbers, arrays)


class Template(NamedTuple):
    """What a call must share with the previous one to skip `to_call`."""

    collector: Collector | None
    types: list[type]  # of the leaves
    constants: tuple[tuple[int, Any], ...]
    numbers: tuple[int, ...]  # the places of Python numbers
    floats: mx.Dtype  # what Python's floats become


def template_of(call: Call, leaves: list[Any]) -> Template | None:
    """The template of `call`; `None` if calls like it need `to_call`."""
    types = list(map(type, leaves))
    if call.static or not _KINDS.issuperset(types):
        return None
    numbers = tuple([i for i, kind in enumerate(types) if kind in (float, int)])
    is_double = any(call.arrays[place].dtype == mx.float64 for place, _ in call.weak)
    floats = mx.float64 if is_double else mx.float32
    return Template(
        collector_of(call.structure), types, call.constants, numbers, floats
    )


_KINDS = frozenset((mx.array, float, int, bool, str))


def match(
    template: Template, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> list[Array] | None:
    """The arrays of a call that matches the template; `None` if it does not.

    Most do, and this takes a fraction of the time of `to_call`. Dtypes of arrays beside
    numbers are not compared: `Call.fits` does that when a new trace is made.
    """
    leaves: list[Any] = []
    if template.collector is None or not collect_as(
        template.collector, (args, kwargs), leaves
    ):
        return None
    if list(map(type, leaves)) != template.types:
        return None
    for place in template.numbers:
        number = leaves[place]
        if type(number) is float:
            leaves[place] = mx.array(number, template.floats)
        elif -(2**31) <= number < 2**31:
            leaves[place] = mx.array(number)
        else:
            return None
    for place, constant in template.constants:
        if leaves[place] != constant:
            return None
    for place, _ in reversed(template.constants):
        del leaves[place]
    return leaves


def _is_constant(value: Any) -> bool:
    """Whether a static value is hashable and holds no array."""
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
