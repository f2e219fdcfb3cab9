"""`mx.compile` with a fallback for functions that it fails on, and a switch.

`mx.compile` merges equal operations before it fuses them, and its bookkeeping has bugs.
Of three equal operations behind `stop_gradient` one may no longer be known as a reader
of its input, which is then fused into another kernel; two equal operations with several
results, such as `mx.split`, may be merged in both directions; and a result in `aux` may
be merged away. MLX then looks for an array that is lost, and raises an `IndexError`.
Derivatives of derivatives are full of such operations. A function that fails is
compiled again without merging, by a mode of MLX that its Python interface lacks.
"""

import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import mlx.core as mx

Fn = Callable[..., Any]

_VARIABLE = "LUCID_FN_JIT"


def _setting() -> bool:
    setting = os.environ.get(_VARIABLE, "")
    if setting not in ("", "none"):
        raise ValueError(
            f"jit: {_VARIABLE} must be 'none', which compiles nothing, got "
            f"{setting!r}; unset it to compile"
        )
    return not setting


_BY_DEFAULT: bool = _setting()

# Changed only inside the block of `disable_jit`, for its own thread.
compiling: ContextVar[bool] = ContextVar("compiling", default=_BY_DEFAULT)

_LOST = "_Map_base::at", "unordered_map::at"  # of libstdc++ and of libc++
_SET_MODE = "_ZN3mlx4core16set_compile_modeENS0_11CompileModeE"
_NO_SIMPLIFY = 1  # of MLX's enum CompileMode


def compiled(fn: Fn) -> Fn:
    """`mx.compile(fn)`, without merging operations if that fails."""
    merging = mx.compile(fn)
    unmerged: Fn | None = None

    def run(*args: Any) -> Any:
        nonlocal unmerged
        if unmerged is None:
            try:
                return merging(*args)
            except IndexError as error:
                if not is_lost(error) or not goes_without_merging():
                    raise
            # Another function, since MLX caches compiled ones by their addresses.
            unmerged = mx.compile(lambda *args: fn(*args))
        # If somebody has switched `mx.compile` off meanwhile, it stays off.
        with _without_merging() if _is_on() else nullcontext():
            return unmerged(*args)

    return run


def _is_on() -> bool:
    """Whether `mx.compile` compiles; its mode can be set, but not read."""
    calls = 0

    def count(x: mx.array) -> mx.array:
        nonlocal calls
        calls += 1
        return x + 1

    run, x = mx.compile(count), mx.array(0)
    run(x)
    run(x)
    return calls == 1


def is_lost(error: Exception) -> bool:
    """Whether MLX has lost an array while it compiled a function."""
    return any(words in str(error) for words in _LOST)


@functools.cache
def _mode_setter() -> Any:
    """MLX's function that sets the mode of compilation; `None` if it does not work.

    Other versions of MLX may lack it, or number the modes differently.
    """
    set_mode = getattr(ctypes.PyDLL(str(mx.__file__)), _SET_MODE, None)
    if set_mode is None or not _is_on():
        return set_mode
    try:
        set_mode(_NO_SIMPLIFY)
        return set_mode if _is_on() else None
    finally:
        mx.enable_compile()


def goes_without_merging() -> bool:
    """Whether this version of MLX can compile without merging."""
    return _mode_setter() is not None


# All threads share the mode: others that compile meanwhile do not merge, either.
_lock = threading.Lock()
_blocks = 0


@contextmanager
def _without_merging() -> Iterator[None]:
    """Inside the block, functions are compiled without merging."""
    global _blocks
    set_mode = _mode_setter()
    with _lock:
        _blocks += 1
        set_mode(_NO_SIMPLIFY)
    try:
        yield
    finally:
        with _lock:
            _blocks -= 1
            if not _blocks:
                mx.enable_compile()
