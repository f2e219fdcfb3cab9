"""Records of the calls inside of a layer, for `tap`, `summary` and `debug`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.context import holding
from lucid_fn.nn.core.layer import ApplyFn, as_apply
from lucid_fn.ops.custom_derivative import custom_function
from lucid_fn.ops.multiply_adds import counting
from lucid_fn.ops.seam import join
from lucid_fn.types import Array, Key, Params, State


class Record(NamedTuple):
    """One call of a child: its path, params, state, output and multiplications."""

    path: str
    params: Params
    state: State
    y: Any
    multiply_adds: int


Watch: TypeAlias = Callable[[str, str, Any], Any]
"""`watch(path, what, values)` sees and may replace the values of each call of a child.

`what` is `"params"` and `"input"` before the call, and `"output"` after it.
"""


class _Recorder(NamedTuple):
    path: tuple[str, ...]
    records: list[Record]  # in the order in which the calls return
    multiply_adds: list[int]  # of each operation
    watch: Watch | None


# Set inside `recording`, in its own thread.
_recorder: ContextVar[_Recorder | None] = ContextVar("recorder", default=None)


@contextmanager
def recording(watch: Watch | None = None) -> Iterator[_Recorder]:
    """Records the calls of children and their multiply-adds inside the block."""
    with counting() as multiply_adds:
        recorder = _Recorder((), [], multiply_adds, watch)
        with holding(_recorder, recorder):
            yield recorder


def record_child(name: str, apply: ApplyFn) -> ApplyFn:
    """The `apply` of a child, with a record of each call inside `recording`."""
    outer = _recorder.get()
    if outer is None:
        return apply
    inner = outer._replace(path=(*outer.path, name))

    @as_apply
    def recorded(
        params: Params, state: State, x: Any, train: bool, key: Key | None
    ) -> tuple[Any, State]:
        path, watch = ".".join(inner.path), inner.watch
        if watch is not None:
            params = watch(path, "params", params)
            x = watch(path, "input", join(x))
        before = len(inner.multiply_adds)
        with holding(_recorder, inner):
            y, new_state = apply(params, state, x, train=train, key=key)
        if watch is not None:
            y = watch(path, "output", join(y))
        multiply_adds = sum(inner.multiply_adds[before:])
        inner.records.append(Record(path, params, state, join(y), multiply_adds))
        return y, new_state

    return recorded


def is_float(leaf: Any) -> bool:
    """Whether a leaf is an array of floats."""
    return isinstance(leaf, mx.array) and mx.issubdtype(leaf.dtype, mx.floating)


def tap_gradients(
    values: Any, receive: Callable[[list[tuple[str, Array]]], None]
) -> Any:
    """The tree `values`, whose gradients are passed to `receive` in the backward pass.

    Args:
        values: any tree.
        receive: called with the paths and the gradients of its float arrays.
    """
    leaves, structure = tree.flatten(values)
    floats = list(filter(is_float, leaves))
    if not floats:
        return values
    named = zip(tree.paths(values), leaves, strict=True)
    paths = [path for path, leaf in named if is_float(leaf)]
    identity = custom_function(lambda *arrays: arrays)

    @identity.vjp
    def _(primals: Any, grads: Any, _: Any) -> Any:
        listed = grads if isinstance(grads, list | tuple) else [grads]
        receive(list(zip(paths, listed, strict=True)))
        return grads if isinstance(primals, list | tuple) else listed[0]

    @identity.jvp
    def _(_: Any, tangents: Any) -> Any:
        return tuple(tangents) if isinstance(tangents, list | tuple) else (tangents,)

    tapped = iter(identity(*floats))
    filled = [next(tapped) if is_float(leaf) else leaf for leaf in leaves]
    return tree.unflatten(structure, filled)
