"""Errors for unknown names and wrong arguments that say what to write instead.

The `__init__` of every package ends with a call of `guide`, which installs them.
"""

import importlib
import inspect
import sys
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any, NoReturn, TypeVar, cast

from lucid_fn.foreign_names import raise_unknown, unknown_argument

Fn = TypeVar("Fn", bound=Callable[..., Any])


def guide(
    namespace: dict[str, Any],
    module: str,
    *,
    on_result: Callable[..., Any] = lambda result, *_: result,
    later: tuple[str, ...] = (),
) -> None:
    """Install errors that say what to write instead in a package.

    Unknown names, and arguments that its functions do not take, are looked up in
    `foreign_names`. Functions of other packages, which it re-exports, are left to
    those. A function keeps its name also when a file of the same name is imported
    later.

    Args:
        namespace: the package's `globals()`, with its `__all__`.
        module: what users call the package, such as `nn`.
        on_result: called with each result, as `on_result(result, fn, args, options)`;
            what it returns is the result of the call.
        later: subpackages that are imported at their first use.
    """
    public, package = namespace["__all__"], namespace["__name__"]
    files = [
        file for path, file in sys.modules.items() if path.startswith(f"{package}.")
    ]
    for file in files:
        if namespace.get(file.__name__.rpartition(".")[2]) is file:
            _explain_module_call(file)
    for name in public:
        fn: Any = namespace.get(name)
        own = inspect.isfunction(fn) and f"{fn.__module__}.".startswith(f"{package}.")
        # Examplewise functions have such errors already: see `ops.input_checks`.
        if own and not hasattr(fn, "__divided__"):
            namespace[name] = explained = explains_calls(fn, on_result=on_result)
            for file in files:  # its own, where pickle looks, and those that use it
                if vars(file).get(name) is fn:
                    setattr(file, name, explained)

    def get(name: str) -> Any:
        if name in later:
            return importlib.import_module(f"{package}.{name}")
        raise_unknown(module, name, public)

    namespace["__getattr__"] = get
    namespace["__dir__"] = lambda: list(public)
    sys.modules[package].__class__ = _Package


class _Package(ModuleType):
    """A package whose functions are not replaced by files of the same name.

    Python sets the attribute `linear` of `nn` to the module whenever `nn/linear.py` is
    loaded, also after `nn/__init__.py` has set it to the function.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType):
            if callable(self.__dict__.get(name)):
                return
            _explain_module_call(value)
        super().__setattr__(name, value)


class _File(ModuleType):
    """A file of a package, such as `ops/interpolate.py`; a call of it is explained.

    Another library may have a function of its name, which users try to call.
    """

    def __call__(self, *args: Any, **options: Any) -> NoReturn:
        package, _, name = self.__name__.rpartition(".")
        raise_unknown(package.partition(".")[2], name, sys.modules[package].__all__)


def _explain_module_call(module: ModuleType) -> None:
    if type(module) is ModuleType:  # not a `_Package`
        module.__class__ = _File


def explains_calls(
    fn: Fn, *, on_result: Callable[..., Any] = lambda result, *_: result
) -> Fn:
    """`fn`, whose error for wrong arguments says how to call it.

    Calls that Python accepts are not inspected.
    """

    @wraps(fn)
    def explained(*args: Any, **options: Any) -> Any:
        try:
            result = fn(*args, **options)
        except TypeError as error:
            if not _refused_by_python(error, explained):
                raise
            message = call_message(fn, args, options)
        else:
            return on_result(result, fn, args, options)
        raise TypeError(message)

    return cast(Fn, explained)


def explains_positions(fn: Fn, name: str, hint: str = "") -> Fn:
    """`fn`, which takes arguments by position only; the error for others says so.

    Args:
        fn: a function whose parameters are positional.
        name: what the error calls it.
        hint: the end of the error.
    """
    parameters = inspect.signature(fn).parameters.values()
    least = sum(p.default is p.empty for p in parameters)
    most = len(parameters)

    @wraps(fn)
    def explained(*args: Any, **options: Any) -> Any:
        if options or not least <= len(args) <= most:
            raise TypeError(call_message(fn, args, options, name) + hint)
        return fn(*args)

    return cast(Fn, explained)


def _refused_by_python(error: TypeError, fn: Callable[..., Any]) -> bool:
    """Whether Python raised the error for the call of `fn` itself, before its body."""
    wrappers, lines = [], []
    while hasattr(fn, "__wrapped__"):
        wrappers.append(fn.__code__)
        fn = fn.__wrapped__
    trace = error.__traceback__
    while trace is not None:
        lines.append(trace.tb_frame.f_code)
        trace = trace.tb_next
    return lines == wrappers[: len(lines)]


def call_message(
    fn: Callable[..., Any],
    args: tuple[Any, ...],
    options: dict[str, Any],
    name: str = "",
) -> str:
    """The error for a call with wrong arguments: what is wrong, and how to write it."""
    signature = inspect.signature(fn)
    name, parameters = name or fn.__name__, signature.parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    problems = [
        unknown_argument(given, list(parameters))
        for given in options
        if given not in parameters and not takes_any
    ]
    named_only = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD)
    positional = [p for p in parameters.values() if p.kind not in named_only]
    by_name = [p.name for p in positional if p.kind is p.POSITIONAL_ONLY]
    by_name = [name for name in by_name if name in options]
    if by_name:
        problems.append(f"takes {' and '.join(by_name)} by position")
    extra = args[len(positional) :]
    if extra and len(positional) == len(parameters):
        names = [p.name for p in positional]
        problems.append(f"takes {' and '.join(names) or 'nothing'} alone")
    elif extra:
        if takes_any:
            names = [f"name_{i + 1}" for i in range(len(extra))]
        else:
            names = [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY]
        given = ", ".join(
            f"{key}={_shown(value)}" for key, value in zip(names, extra, strict=False)
        )
        first = ", ".join(map(_shown, args[: len(positional)]))
        problems.append(
            f"takes {' and '.join(p.name for p in positional)} by position, and the "
            f"others by name, as in {name}({', '.join(filter(None, (first, given)))})"
        )
    missing = [
        p.name
        for index, p in enumerate(parameters.values())
        if p.default is p.empty
        and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
        and index >= len(args)
        and p.name not in options
    ]
    if missing and not problems:
        only = [p.name for p in positional if p.kind is p.POSITIONAL_ONLY]
        of_several = len(only) > 1 and only[-1] in missing
        problems.append(
            f"takes {' and '.join(only)} by position, got {len(args)} of them"
            if of_several
            else f"needs {' and '.join(missing)}"
        )
    problems = problems or ["got an argument twice"]
    return f"{name}: {'; '.join(problems)}; write {name}({_short(signature)})"


def _shown(value: Any) -> str:
    """A value as code, or its type where that would be long."""
    if hasattr(value, "shape"):  # an array, which may be traced and have no values
        return f"<{type(value).__name__}>"
    code = repr(value)
    return code if len(code) <= 40 and "\n" not in code else f"<{type(value).__name__}>"


def _short(signature: inspect.Signature) -> str:
    """The signature without annotations."""
    shown, by_name = [], False
    for p in signature.parameters.values():
        if p.kind is p.KEYWORD_ONLY and not by_name:
            shown.append("*")
        by_name = by_name or p.kind in (p.VAR_POSITIONAL, p.KEYWORD_ONLY)
        if p.default is p.empty:
            shown.append(str(p.replace(annotation=p.empty)))
        else:
            shown.append(
                f"{p.name}={'...' if callable(p.default) else repr(p.default)}"
            )
    return ", ".join(shown)
