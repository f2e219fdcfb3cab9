"""Clear messages for MLX's errors about functions that it cannot transform."""

import contextlib
import linecache
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import mlx.core as mx

from lucid_fn.tracing import UnavailableError, is_symbolic, start
from lucid_fn.transforms import bytecode
from lucid_fn.transforms.captures import Capture
from lucid_fn.types import Array

_PACKAGE = f"{Path(__file__).parent.parent}{os.sep}"


def _line(filename: str, number: int) -> str:
    source = linecache.getline(filename, number).strip()
    if len(source) > 88:
        source = source[:85] + "..."
    return f"{filename}:{number}" + (f": `{source}`" if source else "")


def _last(traceback: TracebackType | None) -> TracebackType | None:
    """The innermost entry of a traceback that is not in this library."""
    found = None
    while traceback is not None:
        if not traceback.tb_frame.f_code.co_filename.startswith(_PACKAGE):
            found = traceback
        traceback = traceback.tb_next
    return found


def where(traceback: TracebackType | None) -> str:
    """The innermost line of a traceback that is not in this library."""
    last = _last(traceback)
    if last is None:
        return "an unknown line"
    return _line(last.tb_frame.f_code.co_filename, last.tb_lineno)


def value_read_error(error: Exception, name: str, transform: str) -> TypeError:
    """The error for a branch on an array, `float(array)`, `print(array)` and so on."""
    fixed = {
        "jit": "give a fixed argument as a bool or by static_argnames",
        "vmap": "give a fixed argument the axis None",
        "eval_shape": "give a fixed argument as a number",
        "export": "let the function capture a fixed argument",
    }.get(transform, "read what is fixed from outside of it")
    look = "; to look at values, run it in lf.disable_jit()" * (transform == "jit")
    return TypeError(
        f"{transform}: {where(error.__traceback__)} needs the value of an array, but "
        f"while {transform} traces `{name}` arrays have shapes and no values; use "
        f"mx.where or mx.maximum instead of a branch, {fixed}, and print or convert "
        "what the function returns, outside of it" + look
    )


@contextlib.contextmanager
def explaining_value_reads(name: str, transform: str) -> Iterator[None]:
    """Inside the block, the error for a value that a tracer lacks names the line."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        if is_symbolic(error):
            raise value_read_error(error, name, transform) from error
        raise


def unavailable_error(
    reason: str,
    arguments: dict[str, Array],
    captured: list[Capture],
    name: str,
) -> RuntimeError:
    """The error for arrays that a compiled function can never compute."""
    found = [
        f"{path} of `{name}`"
        for path, array in arguments.items()
        if not _is_available(array)
    ]
    found += [
        f"`{capture.name}`, which `{capture.owner}` reads,"
        for capture in captured
        if not all(map(_is_available, capture.kept))
    ]
    what = found[0] if found else f"an array that `{name}` uses"
    return RuntimeError(f"jit: {what} {reason}")


def _is_available(array: Any) -> bool:
    try:
        start(array)
    except UnavailableError:
        return False
    return True


def conversion(fn: Callable[[list[Array]], Any], arrays: list[Array]) -> str | None:
    """The line at which `fn` converts its arguments to values, if it does.

    A branch on an array does not count: its gradient is indeed zero. Runs `fn` once
    more, with tracers.
    """

    def traced(arrays: list[Array]) -> None:
        fn(arrays)

    try:
        mx.compile(traced)(arrays)
    except Exception as error:  # only the line is wanted
        last = _last(error.__traceback__)
        if is_symbolic(error) and last is not None:
            code = last.tb_frame.f_code
            if "CALL" in bytecode.operation(code, last.tb_lasti):
                return where(error.__traceback__)
    return None


def check_conversions(
    fn: Callable[[list[Array]], Any], arrays: list[Array], result: str, caller: str
) -> None:
    """Raises if `fn` converts `arrays` to values, through which no gradient flows."""
    if line := conversion(fn, arrays):
        raise TypeError(
            f"{caller}: {line} takes the values out of an array, through which no "
            f"gradient flows, and {result} depends on its arguments in no other way; "
            "compute it with mlx.core instead of NumPy and numbers, and return what "
            "you want to look at with has_aux=True"
        )


# The functions behind the names of MLX's primitives.
_FUNCTIONS = {
    "Inverse": "mx.linalg.inv",
    "Cholesky": "mx.linalg.cholesky",
    "Eigh": "mx.linalg.eigh",
    "Eig": "mx.linalg.eig",
    "SVD": "mx.linalg.svd (also in pinv and nuclear norms)",
    "QRF": "mx.linalg.qr",
    "LUF": "mx.linalg.lu (also in mx.linalg.solve)",
    "GatherMM": "mx.gather_mm",
}
_RULES = {
    "vjp": "reverse derivative (vjp)",
    "jvp": "forward derivative (jvp)",
    "vmap": "batching rule (vmap)",
}
_MISSING = re.compile(r"\[Primitive::(vjp|jvp|vmap)\] Not implemented for (\w+)")


@contextlib.contextmanager
def explains_missing_rule(transform: str, fix: str) -> Iterator[None]:
    """Inside the block, the error for a missing rule, as of jvp of conv, has a fix."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        words = str(error)
        if "Cannot calculate VJP with respect to indices" in words:
            raise ValueError(
                f"{transform}: the indices of an operation depend on the arguments to "
                "differentiate, and have no derivative; put mx.stop_gradient around "
                "them. Among such operations is mx.linalg.solve, which has no "
                "derivative in MLX: give it one with lf.custom_vjp"
            ) from error
        if found := _MISSING.search(words):
            rule, primitive = found.groups()
            function = _FUNCTIONS.get(primitive, f"the operation {primitive}")
            raise ValueError(
                f"{transform}: MLX has no {_RULES[rule]} of {function}; {fix}"
            ) from error
        if re.search("not (yet )?implemented", words, re.IGNORECASE):
            error.add_note(f"{transform}: MLX has no such rule; {fix}")
        raise


def random_state() -> Any:
    """MLX's hidden random state: another object after each use of it."""
    state: Any = mx.random.state  # a sequence, contrary to MLX's stubs
    return state[0]


@contextlib.contextmanager
def drawing_nothing(
    name: str,
    caller: str,
    reason: str = "of which its derivative would draw other numbers than the call",
    fix: str = "give it a key as an argument",
    again: Callable[[], Any] | None = None,
) -> Iterator[None]:
    """Inside the block, a use of MLX's hidden random state is an error.

    With `again`, which runs the function once more, the error names the line.
    """
    before = random_state()
    yield
    if random_state() is not before:
        what = f"`{name}`" if again is None else _random_line(again)
        raise ValueError(
            f"{caller}: {what} uses MLX's hidden random state, {reason}; {fix}"
        )


def _random_line(fn: Callable[[], Any]) -> str:
    """The line at which `fn` uses MLX's hidden random state; runs `fn` once more."""
    found: list[str] = []
    previous = sys.gettrace()
    last = random_state()

    def follow(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal last
        line = frame.f_lineno
        if frame.f_code.co_filename.startswith(_PACKAGE):
            return follow  # a line here is not the user's, but one below may be

        def local(frame: FrameType, event: str, arg: Any) -> Any:
            nonlocal last, line
            now = random_state()
            if now is not last and not found:
                found.append(_line(frame.f_code.co_filename, line))
            last, line = now, frame.f_lineno
            return local

        return local

    sys.settrace(follow)
    try:
        with contextlib.suppress(Exception):  # only the line is wanted
            fn()
    finally:
        sys.settrace(previous)
    return found[0] if found else "it"
