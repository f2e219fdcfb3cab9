"""The arguments that are differentiated, by their positions `argnums`."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.transforms.arguments import (
    as_array,
    describe,
    name_of,
    owned,
    parameter_names,
    remedy,
)
from lucid_fn.types import Array, Tree


class Chosen(NamedTuple):
    """The leaves of a call that are differentiated."""

    leaves: list[Array]
    call: Callable[..., Any]  # the function, or a copy of it, of such leaves
    collect: Callable[[list[Any]], Tree]  # the argument, or a tuple, of such leaves


def chooser(
    fn: Callable[..., Any], argnums: int | Sequence[int], caller: str
) -> Callable[[tuple[Any, ...], dict[str, Any]], Chosen]:
    """Returns the function that chooses among the arguments of a call of `fn`."""
    places = [argnums] if isinstance(argnums, int) else argnums
    if not isinstance(places, list | tuple | range) or any(
        not isinstance(place, int) or isinstance(place, bool) for place in places
    ):
        raise TypeError(
            f"{caller}: argnums must be the position of an argument or a sequence of "
            f"positions, got {argnums!r}"
        )
    names = parameter_names(fn)

    def choose(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Chosen:
        for place in places:
            if not -len(args) <= place < len(args):
                raise ValueError(
                    f"{caller}: argnums must name a positional argument of "
                    f"`{name_of(fn)}`, got {place} in a call with {len(args)} of them; "
                    "what is differentiated is given by position"
                )
        chosen = [place % len(args) for place in places]
        leaves, structure = _float_leaves({i: args[i] for i in chosen}, names, caller)

        def call(leaves: list[Any], fn: Callable[..., Any] = fn) -> Any:
            given = tree.unflatten(structure, leaves)
            others = tree.map(owned, args), tree.map(owned, kwargs)
            positional = [given.get(i, arg) for i, arg in enumerate(others[0])]
            return fn(*positional, **others[1])

        def collect(values: list[Any]) -> Tree:
            by_place = tree.unflatten(structure, values)
            if isinstance(argnums, int):
                return by_place[chosen[0]]
            return tuple(by_place[i] for i in chosen)

        return Chosen(leaves, call, collect)

    return choose


def _float_leaves(
    args: dict[int, Any], names: list[str], caller: str
) -> tuple[list[Array], tree.Structure]:
    """The leaves to differentiate, as arrays."""
    leaves, structure = tree.flatten(args)
    arrays = []
    for i, leaf in enumerate(leaves):
        array = as_array(leaf)
        if array is None or not mx.issubdtype(array.dtype, mx.inexact):
            place, _, rest = tree.paths(args)[i].partition(".")
            name = names[int(place)] if int(place) < len(names) else f"args[{place}]"
            where = f"{name}.{rest}".rstrip(".")
            fix = remedy(leaf) or (
                "keep counters and flags in the state or in another argument"
            )
            raise TypeError(
                f"{caller}: {where} must be a float array to be differentiated, got "
                f"{describe(leaf)}; {fix}"
            )
        arrays.append(array)
    return arrays, structure
