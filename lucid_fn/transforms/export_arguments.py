"""The arguments of exported functions: described for the file, and checked in calls."""

from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.transforms.arguments import (
    as_array,
    describe,
    leaf_paths,
    name_of,
    parameter_names,
    remedy,
)
from lucid_fn.transforms.exported import Description, Leaf, to_json
from lucid_fn.types import Array


def described(
    fn: Callable[..., Any], args: tuple[Any, ...], batch_argnums: int | Sequence[int]
) -> tuple[list[Array], Description]:
    """The arrays among the example arguments, and the description of a call."""
    places = [batch_argnums] if isinstance(batch_argnums, int) else batch_argnums
    for place in places:
        if not -len(args) <= place < len(args):
            raise ValueError(
                f"export: batch_argnums must be positions of the {len(args)} example "
                f"arguments, got {place}"
            )
    batched = {place % len(args) for place in places}
    names = parameter_names(fn)[: len(args)]
    names += [f"args[{i}]" for i in range(len(names), len(args))]
    paths = iter(leaf_paths(names, args, {}))
    arrays, leaves = [], []
    for i, leaf in (
        (i, leaf) for i, arg in enumerate(args) for leaf in tree.leaves(arg)
    ):
        path, array = next(paths), as_array(leaf)
        if array is None:
            fix = remedy(leaf) or "let `fn` capture what is constant"
            raise TypeError(
                f"export: {path} of `{name_of(fn)}` must be an array, got "
                f"{describe(leaf)}; {fix}"
            )
        if i in batched and (array.ndim == 0 or len(array) == 0):
            raise ValueError(
                f"export: {path} of `{name_of(fn)}` must have at least one example on "
                f"axis 0, since batch_argnums has {i}, got {describe(array)}"
            )
        arrays.append(array)
        leaves.append(
            Leaf(path, list(array.shape), dtype_name(array.dtype), i in batched)
        )
    if not arrays:
        raise ValueError(
            f"export: `{name_of(fn)}` must take at least one array, got none"
        )
    sizes = {len(x) for x, leaf in zip(arrays, leaves, strict=True) if leaf.batched}
    if len(sizes) > 1:
        raise ValueError(
            f"export: the arguments of `{name_of(fn)}` that batch_argnums names must "
            f"have one number of examples, got {' and '.join(map(str, sorted(sizes)))}"
        )
    return arrays, Description(
        name=name_of(fn),
        parameters=names,
        args=to_json(tree.flatten(args)[1]),
        leaves=leaves,
        result=None,
        batch_sizes=[size for limit in sizes for size in _powers_of_two(limit)],
    )


def dtype_name(dtype: mx.Dtype) -> str:
    return str(dtype).removeprefix("mlx.core.")


def positional(
    args: tuple[Any, ...], kwargs: dict[str, Any], names: list[str], caller: str
) -> tuple[Any, ...]:
    """All arguments of a call in the order of their names."""
    rest = names[len(args) :]
    if set(rest) != kwargs.keys():
        raise TypeError(
            f"{caller} takes {', '.join(names)}, got {len(args)} positional arguments "
            f"and {', '.join(kwargs)}; give each once, by its place or name"
        )
    return *args, *[kwargs[name] for name in rest]


def raise_difference(
    args: tuple[Any, ...], wanted: tree.Structure, description: Description, caller: str
) -> None:
    names = description.parameters
    if len(args) != len(names):
        raise ValueError(
            f"{caller} takes {len(names)} arguments ({', '.join(names)}), got "
            f"{len(args)}"
        )
    example = tree.unflatten(wanted, [leaf.dtype for leaf in description.leaves])
    for name, there, here in zip(names, example, args, strict=True):
        pair = {name: there}, {name: here}  # mapping over both says where they differ
        tree.map(lambda *_: None, *pair, caller=f"{caller}: exported and given")


def matched(leaves: list[Any], description: Description, caller: str) -> list[Array]:
    """The arrays among the arguments of a call, checked to be as exported."""
    arrays = [
        _fitting(leaf, want, caller)
        for leaf, want in zip(leaves, description.leaves, strict=True)
    ]
    sizes = {
        len(array): want.path
        for array, want in zip(arrays, description.leaves, strict=True)
        if want.batched
    }
    if len(sizes) > 1 or 0 in sizes:
        found = " and ".join(f"{size} in {path}" for size, path in sizes.items())
        raise ValueError(
            f"{caller}: the number of examples must be one, and positive, got {found}"
        )
    return arrays


def _fitting(value: Any, want: Leaf, caller: str) -> Array:
    array = as_array(value)
    if array is not None and isinstance(value, int | float):  # which have no dtype
        array = array.astype(getattr(mx, want.dtype))
    if array is not None and dtype_name(array.dtype) == want.dtype:
        start = int(want.batched)
        if (
            array.ndim == len(want.shape)
            and [*array.shape[start:]] == want.shape[start:]
        ):
            return array
    shape = str(tuple(want.shape))
    if want.batched:
        shape = "(N" + shape.removeprefix(f"({want.shape[0]}")
    raise ValueError(
        f"{caller}: {want.path} must be {want.dtype} of shape {shape}, as exported, "
        f"got {describe(value)}; convert it, or export the function again"
    )


def _powers_of_two(limit: int) -> list[int]:
    """The powers of two up to the limit, the largest first."""
    return [1 << i for i in reversed(range(limit.bit_length()))]


def resized(arrays: list[Array], description: Description, size: int) -> list[Array]:
    """The arguments with another number of examples in the batch."""
    return [
        array[mx.arange(size) % len(array)] if leaf.batched else array
        for array, leaf in zip(arrays, description.leaves, strict=True)
    ]
