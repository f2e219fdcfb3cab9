"""`jit`: `mx.compile` for trees, with errors where it would be silently wrong."""

import collections
import functools
import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar, overload

import mlx.core as mx
import numpy as np

from lucid_fn import tree
from lucid_fn.ops import seam
from lucid_fn.tracing import (
    is_symbolic,
    is_tracing,
    is_transforming,
    lazily,
    ordering,
    start,
    started,
    unavailable_reason,
)
from lucid_fn.transforms import (
    captures,
    compilation,
    diagnosis,
    jit_results,
    traces,
    widening,
)
from lucid_fn.transforms.arguments import (
    as_array,
    check_function,
    leaf_paths,
    name_of,
    parameter_names,
)
from lucid_fn.transforms.calls import (
    Call,
    Template,
    from_call,
    match,
    static_places,
    template_of,
    to_call,
)
from lucid_fn.transforms.compilation import compiling
from lucid_fn.types import Array

Fn = TypeVar("Fn", bound=Callable[..., Any])
Flat: TypeAlias = Callable[[list[Array]], Any]  # to the result and a token of it


class Compiled(NamedTuple):
    """A function, uncompiled and compiled."""

    plain: Flat
    fast: Flat


class _OtherDtypes(Exception):
    """Numbers have another effect on the dtypes of this call's arrays."""


def _called(function: Compiled, arrays: list[Array]) -> tuple[Any, Array | None]:
    # MLX does so, too, unless a derivative has cleared the marks of the arguments, or
    # only arrays that the function closes over have marks.
    run = function.plain if _is_inside() else function.fast
    out: tuple[Any, Array | None] = run(arrays)
    return out


def _is_inside() -> bool:
    """Whether another transformation runs the function, which then runs uncompiled."""
    return is_transforming() or is_tracing()


class Packed(NamedTuple):
    """A result of a type that `mx.compile` does not return."""

    structure: int  # an index into the structures of the function
    leaves: list[Any]


# One call may run while Python prepares the next; more would only hold memory.
_MAX_IN_FLIGHT = 2

# MLX allocates the results of a call when it starts. Calls with results of this size
# start once the previous one has ended, so that memory holds one set of results.
_LARGE = 16 * 2**20  # bytes


@overload
def jit(
    fn: Fn, *, static_argnames: str | Sequence[str] = ..., max_traces: int | None = ...
) -> Fn: ...


@overload
def jit(
    *, static_argnames: str | Sequence[str] = ..., max_traces: int | None = ...
) -> Callable[[Fn], Fn]: ...


def jit(
    fn: Any = None,
    *,
    static_argnames: str | Sequence[str] = (),
    max_traces: int | None = None,
) -> Any:
    """Compiles `fn`, which is traced once for each set of shapes and dtypes.

    Arguments are trees. Arrays, NumPy arrays and numbers may change from call to call
    without a new trace. Bools, strings and `None` are constants, each value of which
    has a trace of its own, and so is any hashable argument named in `static_argnames`.
    Numbers become arrays, of float64 beside arrays of that dtype; results have the
    dtypes that they have with numbers, so that `0.5 * x` is float16 if `x` is.

    The 64 most recently used traces are kept, or all of them if `max_traces` is given.
    Each thread has traces of its own.

    The evaluation of the result starts before the call returns, so that no script
    needs `mx.eval`. At most 2 calls are in flight at a time.

    `fn` must be pure: it runs only while it is traced. Arrays and numbers that it
    captures, also in dicts, lists and tuples, are compiled in as constants; once such a
    name has another value, the next call is an error. Functions are not watched, nor
    are numbers in other objects or in a container of more than 256 items.

    Inside other transformations, other compiled functions and `disable_jit` it runs
    uncompiled, so that gradients reach the arrays that it captures.

    Args:
        fn: a function of trees to a tree of arrays, numbers and strings. With options
            alone, `@lf.jit(static_argnames="n")`, the result is a decorator.
        static_argnames: names of the parameters that are constants.
        max_traces: the number of traces after which one more is an error; unlimited if
            `None`.

    Returns:
        A function with the signature of `fn`.

    Raises:
        ValueError: if `static_argnames` names no parameter of `fn`, or `max_traces` is
            not positive; when called, if a captured value has changed, or belongs to
            a transformation of MLX around the call, such as `mx.grad`, or if `fn` uses
            MLX's hidden random state, which compiling would freeze.
        TypeError: if `fn` is not a function; when called, if an argument or a result
            can be neither an array nor a constant, or if `fn` needs the value of an
            array, for instance in `if loss > 1:`; the message names the line.
        RuntimeError: when called, at a trace more than `max_traces`; the message names
            the argument that changed. Also if an argument can never be computed: a
            tracer that was stored, or a lazy array of another thread.

    Example:
        >>> import mlx.core as mx
        >>> import lucid_fn as lf
        >>> @lf.jit
        ... def step(params, lr):
        ...     return {"w": params["w"] - lr}
        >>> step({"w": mx.array(1.0)}, 0.25)
        {'w': array(0.75, dtype=float32)}
    """
    if fn is None and (static_argnames or max_traces is not None):
        return functools.partial(
            jit, static_argnames=static_argnames, max_traces=max_traces
        )
    check_function("jit", fn)
    if max_traces is not None and max_traces < 1:
        raise ValueError(f"jit: max_traces must be at least 1, got {max_traces}")
    name = name_of(fn)
    names = parameter_names(fn)
    static = static_places(fn, static_argnames, names)
    compiled: collections.OrderedDict[Hashable, Compiled] = collections.OrderedDict()
    latest: tuple[Any, Template, Compiled] | None = None  # the device and the last call
    traced_calls: dict[Hashable, dict[str, str]] = {}
    crowded = False  # whether each trace has a compiled function of its own
    structures: list[tree.Structure] = []
    in_flight: collections.deque[Array] = collections.deque()
    captured: list[captures.Capture] | None = None
    double: bool | None = None  # whether one of them is of float64
    agreed: set[tuple[str, ...]] = set()  # collectives that all processes agree on
    waits = False  # for the previous call, since results are large
    lock = threading.Lock()

    def compile_call(call: Call, numbers: list[str]) -> Compiled:
        call = call._replace(arrays=[])  # else the first arguments would stay alive

        def traced(arrays: list[Array]) -> Any:
            nonlocal waits
            if not call.fits(arrays):
                raise _OtherDtypes
            args, kwargs = from_call(call._replace(arrays=arrays), static)
            key = (call.key(), traces.shapes(arrays))
            is_new = key not in traced_calls  # MLX runs `fn` at each call inside grad
            if is_new:
                signature = traces.signature(names, args, kwargs)
                traces.check_count(
                    name, list(traced_calls.values()), signature, max_traces
                )
                traced_calls[key] = signature
            reason = (
                f"which compiling `{name}` would freeze: every call would draw the "
                "same numbers"
            )
            fix = "give it a key that comes in as an argument"
            again = functools.partial(fn, *args, **kwargs)
            with diagnosis.drawing_nothing(name, "jit", reason, fix, again):
                try:
                    with ordering() as order, lazily():
                        out = fn(*args, **kwargs)
                except Exception as error:
                    if is_new:
                        del traced_calls[key]
                    if numbers and not is_symbolic(error):
                        error.add_note(
                            f"jit: while `{name}` is traced, its Python numbers are "
                            f"arrays ({', '.join(numbers)}); name in static_argnames "
                            "what must stay a number, such as a size or an axis"
                        )
                    raise
            jit_results.check(out, name)
            if call.numbers:
                given = widening.with_numbers(arrays, call.numbers)
                args, kwargs = from_call(call._replace(arrays=given), static)
                out = widening.narrowed(out, lambda: fn(*args, **kwargs))
            collectives = tuple(order.signatures)
            if order.agree is not None and collectives not in agreed:
                order.agree(name, list(collectives))
                agreed.add(collectives)
            waits = waits or jit_results.nbytes(out) > _LARGE
            return out, jit_results.token(out, arrays)

        def packed(arrays: list[Array]) -> Any:
            out, token = traced(arrays)
            leaves, structure = tree.flatten(out)
            if jit_results.is_plain(structure):
                return out, token
            if structure not in structures:
                structures.append(structure)
            return Packed(structures.index(structure), leaves), token

        return Compiled(traced, compilation.compiled(packed))

    def find(
        device: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Compiled, list[Array]]:
        """The compiled function for these arguments, and its arguments."""
        nonlocal captured, double, latest
        inside = _is_inside()
        if captured is None and not inside:
            captured = captures.find(fn, "jit")
            double = captures.hold_doubles(captured)
            seam.prepare_compiler()  # MLX compiles the first kernels soon
        elif double is None:
            double = captures.hold_doubles(captures.find(fn, "jit", traced=True))
        call = to_call(args, kwargs, static, names, name, double=double)
        # The device is part of the key, since a trace is bound to its streams.
        shapes = traces.shapes(call.arrays) if crowded else None
        key = (call.key(), shapes, device)
        function = compiled.get(key)
        if function is None:
            for _, value in () if inside else call.static:
                captures.find(value, "jit")  # a function, say, may hide traced arrays
            leaves = _dynamic_leaves(names, args, kwargs, static)
            numbers = [
                path
                for path, leaf in leaves.items()
                if widening.is_weak(leaf) and not isinstance(leaf, bool)
            ]
            function = compile_call(call, numbers)
        with lock:
            compiled[key] = function
            compiled.move_to_end(key)
            if len(compiled) > traces.MAX_KEPT:
                compiled.popitem(last=False)
        known = None
        if captured is not None and not crowded:
            known = template_of(call, tree.leaves((args, kwargs)))
        latest = None if known is None else (device, known, function)
        return function, call.arrays

    def check_crowd() -> None:
        """Limits the traces that are kept, once there are many.

        `mx.compile` never forgets a trace of a function. So from now on each trace has
        a compiled function of its own, and `compiled` holds those used last.
        """
        nonlocal crowded, latest
        if max_traces is None and len(traced_calls) > traces.MAX_KEPT:
            with lock:
                if not crowded:
                    compiled.clear()
                crowded, latest = True, None
                traced_calls.clear()

    @functools.wraps(fn)
    def run(*args: Any, **kwargs: Any) -> Any:
        nonlocal captured, latest
        if not compiling.get():
            args, kwargs = tree.map(_from_numpy, (args, kwargs))
            return started(fn(*args, **kwargs))
        device = mx.default_device().type
        arrays, last, first = None, latest, captured is None
        if last is not None and last[0] == device:
            function = last[2]
            arrays = match(last[1], args, kwargs)
        if arrays is None:
            function, arrays = find(device, args, kwargs)
        held = captured or []
        captures.check(held, name)
        traces_before = len(traced_calls)
        try:
            try:
                out, token = _called(function, arrays)
            except _OtherDtypes:
                function, arrays = find(device, args, kwargs)
                out, token = _called(function, arrays)
            if first or len(traced_calls) > traces_before:
                if captured is not None:
                    captured = captures.after_trace(held, name)
                check_crowd()
            while waits and in_flight:
                mx.eval(in_flight.popleft())
            is_started = token is not None and start(out, token)
        except Exception as error:
            if not traces_before:  # no captured value is compiled in yet
                captured = latest = None
            if not isinstance(error, ValueError | RuntimeError | IndexError):
                raise
            if is_symbolic(error):
                raise diagnosis.value_read_error(error, name, "jit") from error
            if reason := unavailable_reason(error):
                leaves = _dynamic_leaves(names, args, kwargs, static)
                given = {p: x for p, x in leaves.items() if isinstance(x, mx.array)}
                raise diagnosis.unavailable_error(reason, given, held, name) from error
            if compilation.is_lost(error):
                raise captures.lost_array_error(name) from error
            if "uncaptured inputs" in str(error):
                raise captures.given_twice_error(held, arrays, name) from error
            raise
        if token is not None and is_started:
            in_flight.append(token)
            if len(in_flight) > _MAX_IN_FLIGHT:
                mx.eval(in_flight.popleft())
        if type(out) is Packed:
            return tree.unflatten(structures[out.structure], out.leaves)
        return out

    # The identity tells this function from wrappers, which get a copy of attributes.
    run.__compiles__ = id(run), fn  # type: ignore[attr-defined]
    return run


def _from_numpy(leaf: Any) -> Any:
    return as_array(leaf) if isinstance(leaf, np.ndarray) else leaf


def _dynamic_leaves(
    names: list[str],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    static: dict[str, int | None],
) -> dict[str, Any]:
    """The leaves of arguments that are not static, by their paths."""
    paths = leaf_paths(names, args, kwargs)
    leaves = zip(paths, tree.leaves((args, kwargs)), strict=True)
    return {path: x for path, x in leaves if path.partition(".")[0] not in static}
