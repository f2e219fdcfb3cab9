"""Loading the layers that match from the arrays of another model."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.checks import listed
from lucid_fn.train.state import TrainState
from lucid_fn.types import Array

_MODEL = ("params", "state")  # the parts of a TrainState that layers have a share in


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
    """`like` with the arrays of all layers that match in `arrays`.

    Raises:
        ValueError: if there is no such layer.
    """
    expected = tree.named_leaves(like)
    report = match(
        expected,
        arrays,
        lambda path: _fits(expected[path], arrays[path]),
        of_run=isinstance(like, TrainState),
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
    of_run: bool = False,
    caller: str,
    hint: str = "",
) -> LoadReport:
    """Which arrays belong to layers whose arrays are all there and all fit.

    Args:
        expected: what a model has, by path.
        arrays: what there is for it, by path.
        fits: whether the array at a path that both have is one for the model.
        of_run: whether `expected` is a `TrainState`.
        caller: the name that errors begin with.
        hint: what the error advises.

    Raises:
        ValueError: if there is no such layer.
    """
    differing = expected.keys() ^ arrays.keys()
    differing |= {p for p in expected.keys() & arrays.keys() if not fits(p)}
    broken = {_layer(path, of_run) for path in differing}
    if broken:  # the optimizer's state, the key and the step are those of one run
        broken.add(None)
    taken = {path for path in expected if _layer(path, of_run) not in broken}
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
    """As `restore`, for params and the state of layers only.

    `like` is a `TrainState`, a pair of params and state, or params.
    """
    parts = {name: _under(name, arrays) for name in _MODEL}
    if not parts["params"]:  # a file of params alone
        parts = {"params": dict(arrays), "state": {}}
    if isinstance(like, TrainState):
        (params, state), report = restore_params(
            (like.params, like.state), arrays, caller=caller
        )
        return like._replace(params=params, state=state), report
    if not isinstance(like, tuple) or len(like) != len(_MODEL):
        return restore(like, parts["params"], caller=caller)
    nothing: Any = ()  # in place of what is not part of a model
    given = TrainState(like[0], like[1], nothing, nothing, nothing)
    flat = {f"{name}.{p}": x for name, part in parts.items() for p, x in part.items()}
    restored, report = restore(given, flat, caller=caller)
    return (restored.params, restored.state), report


def _under(name: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays whose path begins with `name`, by the rest of it."""
    start = f"{name}."
    return {p.removeprefix(start): x for p, x in arrays.items() if p.startswith(start)}


def _layer(path: str, of_run: bool) -> str | None:
    """The path of the layer that an array belongs to; `None` for arrays of the run.

    The params and the state of a layer have the same path.
    """
    first, _, rest = path.partition(".")
    if of_run and first not in _MODEL:
        return None
    return (rest if of_run else path).rpartition(".")[0]


def _fits(ours: Any, theirs: Array) -> bool:
    is_array = isinstance(ours, mx.array)
    return is_array and ours.shape == theirs.shape and ours.dtype == theirs.dtype
