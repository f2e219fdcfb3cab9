"""`mlx.core.compile` made safe."""

import collections
import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import mlx.core as mx
import numpy as np

from lucid_fn import tree
from lucid_fn.ops import seam
from lucid_fn.transforms import captures, diagnosis, widening
from lucid_fn.transforms.arguments import (
    check_function,
    describe,
    leaf_paths,
    name_of,
    parameter_names,
)
from lucid_fn.transforms.calls import (
    Call,
    arrays_like,
    from_call,
    static_places,
    to_call,
)
from lucid_fn.transforms.tracing import is_transforming
from lucid_fn.types import Array

Fn = TypeVar("Fn", bound=Callable[..., Any])
Flat: TypeAlias = Callable[[list[Array]], Any]  # to the result and a token of it

# What a result may hold besides arrays; other objects could hide arrays of the trace.
_CONSTANTS = (
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    np.generic,
    np.ndarray,
    mx.Dtype,
)


class Compiled(NamedTuple):
    """A function as it is and compiled."""

    plain: Flat
    fast: Flat


# One call may run while Python prepares the next; more would only hold memory.
_MAX_IN_FLIGHT = 2


def jit(
    fn: Fn, *, static_argnames: str | Sequence[str] = (), max_traces: int | None = None
) -> Fn:
    """A compiled `fn`, traced once for each set of shapes and dtypes.

    Arguments are trees. Arrays, NumPy arrays, ints and floats may change from call to
    call without a new trace; bools, strings and `None` are constants, of which each
    value has a trace of its own, and so is any hashable argument named in
    `static_argnames`. Ints and floats become int32 and float32 arrays; results have the
    dtypes that they have with numbers, so that `0.5 * x` is float16 if `x` is.

    The evaluation of the result starts before the call returns, so that no script
    needs `mx.eval`; at most 2 calls are under way at a time.

    `fn` must be pure: it runs only while it is traced. Arrays and numbers that it
    reads without being given them are compiled in as constants; once such a name has
    another value, the next call is an error.

    Args:
        fn: a function of trees to a tree of arrays, numbers and strings.
        static_argnames: names of the parameters to hold constant.
        max_traces: an error is raised at the trace after this many; unlimited if
            `None`.

    Returns:
        A function with the signature of `fn`.

    Raises:
        ValueError: if `static_argnames` names no parameter of `fn`, or `max_traces` is
            not positive; when called, if a captured value has changed, or is traced by
            a transformation around, or if `fn` uses MLX's hidden random state, which
            compiling would freeze.
        TypeError: if `fn` is not a function; when called, if an argument or a result
            can be neither an array nor a constant, or if `fn` needs the value of an
            array, for instance in `if loss > 1:`; the message names the line.
        RuntimeError: when called, at a trace more than `max_traces`; the message names
            the argument that changed.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> @lf.jit
        ... def step(params, lr):
        ...     return {"w": params["w"] - lr}
        >>> step({"w": mx.array(1.0)}, 0.25)
        {'w': array(0.75, dtype=float32)}
    """
    check_function("jit", fn)
    if max_traces is not None and max_traces < 1:
        raise ValueError(f"jit: max_traces must be at least 1, got {max_traces}")
    name = name_of(fn)
    names = parameter_names(fn)
    static = static_places(fn, static_argnames, names)
    compiled: dict[Hashable, Compiled] = {}
    latest: dict[Any, tuple[tree.Structure, Compiled]] = {}  # by device, at most one
    traces: dict[Hashable, dict[str, str]] = {}
    in_flight: collections.deque[Array] = collections.deque()
    captured: list[captures.Capture] = []

    def compile_call(call: Call, numbers: list[str]) -> Compiled:
        call = call._replace(arrays=[])  # not to keep the first arguments alive

        def traced(arrays: list[Array]) -> Any:
            args, kwargs = from_call(call._replace(arrays=arrays), static)
            key = (call.key(), tuple((a.shape, a.dtype) for a in arrays))
            if key not in traces:  # MLX runs `fn` at each call inside a transformation
                signature = _signature(names, args, kwargs)
                _check_count(name, list(traces.values()), signature, max_traces)
                traces[key] = signature
            before = diagnosis.random_state()
            try:
                out = fn(*args, **kwargs)
            except Exception as error:
                if numbers and not diagnosis.reads_a_value(error):
                    error.add_note(
                        f"jit: while `{name}` is traced, its Python numbers are arrays "
                        f"({', '.join(numbers)}); name in static_argnames what must "
                        "stay a number, such as a size or an axis"
                    )
                raise
            if diagnosis.random_state() is not before:
                line = diagnosis.random_line(lambda: fn(*args, **kwargs))
                raise ValueError(
                    f"jit: {line} uses the hidden random state, which compiling "
                    f"`{name}` would freeze: every call would draw the same numbers; "
                    "give it a key that comes in as an argument"
                )
            _check_result(out, name)
            if call.numbers:
                given = widening.with_numbers(arrays, call.numbers)
                args, kwargs = from_call(call._replace(arrays=given), static)
                out = widening.narrowed(out, lambda: fn(*args, **kwargs))
            return out, _token(out)

        return Compiled(traced, mx.compile(traced))

    def find(
        device: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Compiled, list[Array]]:
        """The compiled function for these arguments, and its arguments."""
        call = to_call(args, kwargs, static, names, name)
        # The device is part of the key, since a trace is bound to its streams.
        key = (call.key(), device)
        function = compiled.get(key)
        if function is None:
            if not compiled:
                captured.extend(captures.find(fn, "jit"))
                seam.prepare_compiler()  # MLX compiles the first kernels soon
            numbers = _numbers(names, args, kwargs, static)
            function = compiled[key] = compile_call(call, numbers)
        latest.clear()
        if not (call.constants or call.static or call.numbers):
            latest[device] = call.structure, function
        return function, call.arrays

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        device = mx.default_device().type
        arrays = None
        if device in latest:
            structure, function = latest[device]
            arrays = arrays_like(structure, args, kwargs)
        if arrays is None:
            function, arrays = find(device, args, kwargs)
        captures.check(captured, name)
        traces_before = len(traces)
        try:
            # MLX does so, too, unless a derivative took the marks off the arguments.
            out, token = (function.plain if is_transforming() else function.fast)(
                arrays
            )
        except (ValueError, RuntimeError, IndexError) as error:
            if diagnosis.reads_a_value(error):
                raise diagnosis.value_read(error, name, "jit") from error
            if "_Map_base::at" in str(error):
                raise captures.merged(captured, name) from error
            if "uncaptured inputs" in str(error):
                raise captures.given_twice(captured, arrays, name) from error
            raise
        if len(traces) > traces_before:  # `fn` may have bound a captured name itself
            captures.check(captured, name)
        if token is not None and _start(out, token):
            in_flight.append(token)
            if len(in_flight) > _MAX_IN_FLIGHT:
                mx.eval(in_flight.popleft())
        return out

    return cast(Fn, run)


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


def _check_count(
    name: str, old: list[dict[str, str]], new: dict[str, str], max_traces: int | None
) -> None:
    """Raises if one more trace is too many.

    The message names the leaf that changed since the trace that is most alike.
    """
    if max_traces is None or len(old) < max_traces:
        return

    def changes(trace: dict[str, str]) -> list[str]:
        return [
            f"{path} was {trace.get(path, 'absent')}, is {new.get(path, 'absent')}"
            for path in sorted({**trace, **new})
            if trace.get(path) != new.get(path)
        ]

    shown = "; ".join(min(map(changes, old), key=len)[:5]) or (
        "the structure of the arguments changed: None, an empty container, or an "
        "argument by name instead of by position"
    )
    raise RuntimeError(
        f"jit: `{name}` would be traced {len(old) + 1} times, max_traces is "
        f"{max_traces}: {shown}"
    )


def _check_result(out: Any, name: str) -> None:
    for path, leaf in zip(tree.paths(out), tree.leaves(out), strict=True):
        if not isinstance(leaf, (mx.array, *_CONSTANTS)):
            where = f" at {path}" if path else ""
            raise TypeError(
                f"jit: `{name}` must return a tree of arrays, numbers and strings, got "
                f"{type(leaf).__name__}{where}; return a dict or a NamedTuple"
            )


def _token(out: Any) -> Array | None:
    """What to wait for until the arrays of a result are there.

    It is computed, so that it is neither an argument passed through nor keeps a large
    array alive, and by an indexing, with which nothing is fused.
    """
    arrays = [leaf for leaf in tree.leaves(out) if isinstance(leaf, mx.array)]
    if not arrays:
        return None
    smallest = min(arrays, key=lambda array: array.size)
    if smallest.size == 0:
        return mx.sum(smallest)
    return mx.take(smallest[(slice(0, 1),) * smallest.ndim], mx.array([0]))


def _start(out: Any, token: Array) -> bool:
    """Starts the evaluation, but inside a transformation, where there is none."""
    if is_transforming():
        return False
    try:
        mx.async_eval(out, token)  # type: ignore[no-untyped-call]  # untyped in stubs
    except ValueError as error:
        if diagnosis.reads_a_value(error):
            return False
        raise
    return True
