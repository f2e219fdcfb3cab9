"""Loading the layers of a model that match those in a file."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import listed
from lucid_fn.train.state import TrainState
from lucid_fn.types import Array

_MODEL = ("params", "state")  # the parts of a TrainState that belong to layers


class LoadReport(NamedTuple):
    """Which arrays were loaded: sorted dotted paths.

    An array whose shape or dtype differs is both missing and unexpected.
    """

    taken: tuple[str, ...]
    """Arrays that come from the file."""
    missing: tuple[str, ...]
    """Arrays of `like` that were kept."""
    unexpected: tuple[str, ...]
    """Arrays of the file that were not used."""


def restore(
    like: Any, arrays: Mapping[str, Array], *, caller: str
) -> tuple[Any, LoadReport]:
    """Replace the arrays of `like` in all layers that match those in `arrays`.

    Raises:
        ValueError: if no layer matches.
    """
    expected = tree.named_leaves(like)
    report = match(
        expected,
        arrays,
        lambda path: _fits(expected[path], arrays[path]),
        is_train_state=isinstance(like, TrainState),
        caller=caller,
    )
    taken = set(report.taken)

    def choose(path: str, leaf: Any) -> Any:
        return arrays[path] if path in taken else leaf

    return tree.map_with_path(choose, like), report


def match(
    expected: Mapping[str, Any],
    arrays: Mapping[str, Array],
    fits: Callable[[str], bool],
    *,
    is_train_state: bool = False,
    caller: str,
    hint: str = "",
) -> LoadReport:
    """Find the layers whose arrays are all present and all fit.

    Args:
        expected: the arrays of the model, by path.
        arrays: the arrays of the file, by path.
        fits: whether the arrays at a path that both have agree in shape and dtype.
        is_train_state: whether `expected` has the paths of a `TrainState`.
        caller: the name that errors begin with.
        hint: advice at the end of the error.

    Raises:
        ValueError: if no layer matches.
    """
    differing = expected.keys() ^ arrays.keys()
    differing |= {p for p in expected.keys() & arrays.keys() if not fits(p)}
    broken = {_layer(path, is_train_state) for path in differing}
    if broken:  # optimizer state, key and step are only loaded with the whole model
        broken.add(None)
    taken = {path for path in expected if _layer(path, is_train_state) not in broken}
    if expected and not taken:
        raise ValueError(
            f"{caller}: no layer matches; like has {listed(expected)}, the file has "
            f"{listed(sorted(arrays))}{hint and '; '}{hint}"
        )
    return LoadReport(
        tuple(sorted(taken)),
        tuple(sorted(expected.keys() - taken)),
        tuple(sorted(arrays.keys() - taken)),
    )


def restore_params(
    like: Any, arrays: Mapping[str, Array], *, caller: str
) -> tuple[Any, LoadReport]:
    """Like `restore`, but only for the params and the state of layers.

    `like` is a `TrainState`, a pair of params and state, or params.
    """
    parts = {name: _subtree(name, arrays) for name in _MODEL}
    if not parts["params"]:  # a file of params alone
        parts = {"params": dict(arrays), "state": {}}
    if isinstance(like, TrainState):
        (params, state), report = restore_params(
            (like.params, like.state), arrays, caller=caller
        )
        return like._replace(params=params, state=state), report
    if not isinstance(like, tuple) or len(like) != len(_MODEL):
        return restore(like, parts["params"], caller=caller)
    empty: Any = ()  # for the fields that are not part of the model
    given = TrainState(like[0], like[1], empty, empty, empty)
    flat = {f"{name}.{p}": x for name, part in parts.items() for p, x in part.items()}
    restored, report = restore(given, flat, caller=caller)
    return (restored.params, restored.state), report


def _subtree(name: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays whose paths begin with `name`, by the rest of the path."""
    start = f"{name}."
    return {p.removeprefix(start): x for p, x in arrays.items() if p.startswith(start)}


def _layer(path: str, is_train_state: bool) -> str | None:
    """The path of the layer that an array belongs to, `None` if it belongs to none.

    The params and the state of a layer have the same path.
    """
    first, _, rest = path.partition(".")
    if is_train_state and first not in _MODEL:
        return None
    return (rest if is_train_state else path).rpartition(".")[0]


def _fits(ours: Any, theirs: Array) -> bool:
    is_array = isinstance(ours, mx.array)
    return is_array and ours.shape == theirs.shape and ours.dtype == theirs.dtype
