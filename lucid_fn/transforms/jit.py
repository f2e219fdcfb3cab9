"""`mlx.core.compile` made safe."""

import collections
import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeVar, cast

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.transforms import captures, diagnosis
from lucid_fn.transforms.arguments import (
    as_array,
    describe,
    leaf_paths,
    name_of,
    parameter_names,
)
from lucid_fn.types import Array

Fn = TypeVar("Fn", bound=Callable[..., Any])

# One call may run while Python prepares the next; more would only hold memory.
_MAX_IN_FLIGHT = 2


class _Call(NamedTuple):
    """The arguments of one call, sorted by what compilation does with them."""

    arrays: list[Array]
    constants: tuple[tuple[int, Any], ...]  # place among the leaves, bool or str
    structure: tree.Structure
    static: tuple[tuple[str, Hashable], ...]  # name and value of static arguments


def jit(
    fn: Fn, *, static_argnames: str | Sequence[str] = (), max_traces: int | None = None
) -> Fn:
    """A compiled `fn`, traced once for each set of shapes and dtypes.

    Arguments are trees. Arrays, NumPy arrays, ints and floats may change from call to
    call without a new trace; bools, strings and `None` are constants, of which each
    value has a trace of its own, and so is any hashable argument named in
    `static_argnames`. The evaluation of the result starts before the call returns, so
    that no script needs `mx.eval`; at most 2 calls are under way at a time.

    `fn` must be pure: it runs only while it is traced. Arrays it reads without being
    given them are compiled in as constants; once such a name is bound to another
    array, the next call is an error.

    Args:
        fn: a function of trees to a tree.
        static_argnames: names of the parameters to hold constant.
        max_traces: an error is raised at the trace after this many; unlimited if
            `None`.

    Returns:
        A function with the signature of `fn`.

    Raises:
        ValueError: if `static_argnames` names no parameter of `fn`; when called, if a
            captured array has changed, or if `fn` uses MLX's hidden random state,
            which compiling would freeze.
        TypeError: when called, if an argument is of a kind that can be neither an
            array nor a constant, or if `fn` needs the value of an array, for instance
            in `if loss > 1:`; the message names the line.
        RuntimeError: when called, at a trace more than `max_traces`; the message names
            the argument that changed.

    Example:
        >>> import mlx.core as mx
        >>> @jit
        ... def step(params, lr):
        ...     return {"w": params["w"] - lr}
        >>> step({"w": mx.array(1.0)}, 0.25)
        {'w': array(0.75, dtype=float32)}
    """
    name = name_of(fn)
    names = parameter_names(fn)
    static = _static_places(fn, static_argnames, names)
    compiled: dict[Hashable, Callable[[list[Array]], tuple[Any, Array | None]]] = {}
    traces: list[dict[str, str]] = []
    in_flight: collections.deque[Array] = collections.deque()
    captured: list[captures.Capture] = []

    def compile_call(
        call: _Call, numbers: list[str]
    ) -> Callable[[list[Array]], tuple[Any, Array | None]]:
        call = call._replace(arrays=[])  # not to keep the first arguments alive

        def traced(arrays: list[Array]) -> tuple[Any, Array | None]:
            args, kwargs = _arguments(call._replace(arrays=arrays), static)
            _count_trace(name, traces, _signature(names, args, kwargs), max_traces)
            before = diagnosis.random_state()
            try:
                out = fn(*args, **kwargs)
            except Exception as error:
                if numbers and not diagnosis.reads_a_value(error):
                    error.add_note(
                        f"jit: while `{name}` is traced, {', '.join(numbers)} of it "
                        "are arrays; name in static_argnames what must stay a number"
                    )
                raise
            if diagnosis.random_state() is not before:
                line = diagnosis.random_line(lambda: fn(*args, **kwargs))
                raise ValueError(
                    f"jit: {line} uses the hidden random state, which compiling "
                    f"`{name}` would freeze: every call would draw the same numbers; "
                    "give it a key that comes in as an argument"
                )
            return out, _smallest(out)

        return mx.compile(traced)

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        call = _sort(args, kwargs, static, names, name)
        # The device is part of the key, since a trace is bound to its streams.
        device = mx.default_device().type
        key = (call.structure, call.constants, call.static, device)
        function = compiled.get(key)
        if function is None:
            if not compiled:
                captured.extend(captures.find(fn))
            numbers = _numbers(names, args, kwargs, static)
            function = compiled[key] = compile_call(call, numbers)
        if captured:
            captures.check(captured, name)
        try:
            out, token = function(call.arrays)
        except ValueError as error:
            if diagnosis.reads_a_value(error):
                raise diagnosis.value_read(error, name, "jit") from error
            raise
        if captured:  # `fn` may have bound a captured name itself
            captures.check(captured, name)
        if token is not None and _start(out):
            in_flight.append(token)
            if len(in_flight) > _MAX_IN_FLIGHT:
                mx.eval(in_flight.popleft())
        return out

    return cast(Fn, run)


def _static_places(
    fn: Callable[..., Any], static_argnames: str | Sequence[str], names: list[str]
) -> dict[str, int | None]:
    """The position of each static parameter; `None` if it is keyword-only."""
    wanted = [static_argnames] if isinstance(static_argnames, str) else static_argnames
    if not wanted:
        return {}
    code = getattr(fn, "__code__", None)
    known = {*names, *(code.co_varnames if code else ())}
    for item in wanted:
        if item not in known:
            raise ValueError(
                f"jit: static_argnames must name parameters of "
                f"`{name_of(fn)}({', '.join(names)})`, got {item!r}"
            )
    return {item: names.index(item) if item in names else None for item in wanted}


def _sort(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    static: dict[str, int | None],
    names: list[str],
    name: str,
) -> _Call:
    values: list[tuple[str, Hashable]] = []
    for item, place in static.items():
        if item in kwargs:
            values.append((item, kwargs[item]))
            kwargs = {k: v for k, v in kwargs.items() if k != item}
        elif place is not None and place < len(args):
            values.append((item, args[place]))
            args = (*args[:place], None, *args[place + 1 :])
    for item, value in values:
        if not isinstance(value, Hashable) or isinstance(value, mx.array):
            raise TypeError(
                f"jit: the static argument {item!r} of `{name}` must be hashable, "
                f"got {type(value).__name__}"
            )
    leaves, structure = tree.flatten((args, kwargs))
    arrays: list[Array] = []
    constants: list[tuple[int, Any]] = []
    for i, leaf in enumerate(leaves):
        if type(leaf) is mx.array:
            arrays.append(leaf)
        elif isinstance(leaf, bool | str):
            constants.append((i, leaf))
        elif (array := as_array(leaf)) is not None:
            arrays.append(array)
        else:
            raise TypeError(
                f"jit: {leaf_paths(names, args, kwargs)[i]} of `{name}` must be an "
                "array, a number, a bool, a string, None or a tree of these, got "
                f"{type(leaf).__name__} {leaf!r}; name the parameter in "
                "static_argnames if it is a constant"
            )
    return _Call(arrays, tuple(constants), structure, tuple(values))


def _arguments(
    call: _Call, static: dict[str, int | None]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments to call the function with; the inverse of `_sort`."""
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


def _numbers(
    names: list[str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    static: dict[str, int | None],
) -> list[str]:
    """The paths of the Python numbers that become arrays."""
    paths = leaf_paths(names, args, kwargs)
    leaves = tree.leaves((args, kwargs))
    return [
        path
        for path, leaf in zip(paths, leaves, strict=True)
        if isinstance(leaf, int | float)
        and not isinstance(leaf, bool)
        and path.partition(".")[0] not in static
    ]


def _signature(
    names: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, str]:
    """What a trace depends on, by the path of the leaf."""
    paths = leaf_paths(names, args, kwargs)
    leaves = tree.leaves((args, kwargs))
    return {p: describe(leaf) for p, leaf in zip(paths, leaves, strict=True)}


def _count_trace(
    name: str, traces: list[dict[str, str]], new: dict[str, str], max_traces: int | None
) -> None:
    """Keeps what a trace depends on; raises if there are too many.

    The message names the leaf that changed since the trace that is most alike.
    """
    if new in traces:  # inside another transformation MLX runs `fn` at each call
        return
    traces.append(new)
    if max_traces is None or len(traces) <= max_traces:
        return

    def changes(old: dict[str, str]) -> list[str]:
        return [
            f"{path} was {old.get(path, 'absent')}, is {new.get(path, 'absent')}"
            for path in sorted({**old, **new})
            if old.get(path) != new.get(path)
        ]

    fewest = min((changes(old) for old in traces[:-1]), key=len, default=[])
    shown = "; ".join(fewest[:5]) or "the structure of the arguments changed"
    raise RuntimeError(
        f"jit: `{name}` would be traced {len(traces)} times, max_traces is "
        f"{max_traces}: {shown}"
    )


def _smallest(out: Any) -> Array | None:
    """An output to wait for, that holds little memory."""
    arrays = [leaf for leaf in tree.leaves(out) if isinstance(leaf, mx.array)]
    return min(arrays, key=lambda a: a.size, default=None)


def _start(out: Any) -> bool:
    """Starts the evaluation; false inside a transformation, where there is none."""
    try:
        mx.async_eval(out)  # type: ignore[no-untyped-call]  # untyped in MLX's stubs
    except ValueError as error:
        if "inside a graph transformation" in str(error):
            return False
        raise
    return True
