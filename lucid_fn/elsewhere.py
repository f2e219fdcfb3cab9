"""What is called otherwise in other libraries: errors that name it.

`names.md`, beside this file, is the table of names, and a page of the documentation.
It is read when an error is raised, and never before.
"""

import difflib
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from importlib import resources
from typing import Any, NoReturn, TypeVar, cast

Fn = TypeVar("Fn", bound=Callable[..., Any])

_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[(`[^`]+`)\]\([^)]*\)")

_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "lr": ("learning_rate",),
    "betas": ("b1", "b2"),
    "alpha": ("decay",),
    "rho": ("decay",),
    "p": ("rate",),
    "dropout": ("rate",),
    "drop_prob": ("rate",),
    "dim": ("axis",),
    "dims": ("axis",),
    "input": ("x",),
    "kernel_size": ("size",),
    "nhead": ("num_heads",),
    "embedding_dim": ("features", "embed_dim"),
    "elementwise_affine": ("affine",),
    "T_max": ("decay_steps",),
    "total_iters": ("decay_steps",),
    "eta_min": ("end",),
    "milestones": ("boundaries",),
    "scale_factor": ("scale",),
    "shuffle": ("seed",),
    "target": ("targets", "labels"),
    "targets": ("labels",),
    "labels": ("targets",),
}
"""Arguments of PyTorch's, and what they are called here, where a function has that."""


def raise_unknown(module: str, name: str, public: Sequence[str]) -> NoReturn:
    """Raises the `AttributeError` for a name that a module does not have.

    Args:
        module: what users call it, such as `nn`.
        name: what was asked for.
        public: the names that there are.
    """
    said = _said_in_table(name) if not name.startswith("_") else None
    if said is None:
        lower = {other.lower(): other for other in public}
        close = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.75)
        said = f"did you mean {module}.{lower[close[0]]}?" if close else None
    raise AttributeError(
        f"{module} has no attribute {name!r}" + (f"; {said}" if said else ""),
        name=name,
    )


def _said_in_table(name: str) -> str | None:
    """What the table says of another library's name, in a sentence."""
    text = resources.files("lucid_fn").joinpath("names.md").read_text("utf-8")
    for part in _LINK.sub(r"\1", text).split("\n## ")[1:]:
        library, _, rows = part.partition("\n")
        for row in rows.splitlines():
            cells = [cell.strip() for cell in row.strip("|").split(" | ")]
            theirs = _CODE.findall(cells[0])
            for index, other in enumerate(theirs):
                if other == name or other.rpartition(".")[2] == name:
                    return _sentence(f"{library}.{other}", index, len(theirs), cells)
    return None


def _sentence(theirs: str, index: int, count: int, cells: list[str]) -> str:
    ours, note = _CODE.findall(cells[1]), cells[2].rstrip(" |").replace("`", "")
    if not ours:
        return f"there is no {theirs} here: {note}"
    ours = [ours[index]] if len(ours) == count else ours
    return f"{theirs} is {' or '.join(ours)} here" + (f" ({note})" if note else "")


def guide(
    namespace: dict[str, Any],
    module: str,
    *,
    made: Callable[..., None] = lambda *_: None,
) -> None:
    """Makes the errors of a package's public names say what to write instead.

    To be called at the end of the package's `__init__`: names that are not there, and
    arguments that its functions do not take, are looked up in the tables above.

    Args:
        namespace: the package's `globals()`, with its `__all__`.
        module: what users call the package, such as `nn`.
        made: is told of each call, `made(result, fn, args, options)`.
    """
    public = namespace["__all__"]
    for name in public:
        fn = namespace.get(name)
        # A function with a mark of its own has errors of its own: see `ops.called`.
        marked = hasattr(fn, "__divided__")
        if inspect.isfunction(fn) and not marked and not _is_explained(fn):
            namespace[name] = explained = explains_calls(fn, made=made)
            home = sys.modules[fn.__module__]  # where pickle looks for it
            if getattr(home, name, None) is fn:
                setattr(home, name, explained)

    def get(name: str) -> NoReturn:
        raise_unknown(module, name, public)

    namespace["__getattr__"] = get
    namespace["__dir__"] = lambda: list(public)


def explains_calls(fn: Fn, *, made: Callable[..., None] = lambda *_: None) -> Fn:
    """`fn`, whose error for arguments that it does not take says how to give them.

    Nothing is looked at unless Python itself refuses the call.
    """

    @wraps(fn)
    def explained(*args: Any, **options: Any) -> Any:
        try:
            result = fn(*args, **options)
        except TypeError as error:
            if not _refused_by_python(error, explained):
                raise
            message = _call_message(fn, args, options)
        else:
            made(result, fn, args, options)
            return result
        raise TypeError(message)

    return cast(Fn, explained)


def _is_explained(fn: Any) -> bool:
    """Whether another package that has the function too has wrapped it already."""
    return fn.__code__ in explains_calls.__code__.co_consts


def _refused_by_python(error: TypeError, fn: Callable[..., Any]) -> bool:
    """Whether the error is that of a call which no line of `fn` has seen."""
    wrappers = set()
    while hasattr(fn, "__wrapped__"):
        wrappers.add(fn.__code__)
        fn = fn.__wrapped__
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_code in wrappers


def _call_message(
    fn: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]
) -> str:
    """How the call should have been written."""
    signature = inspect.signature(fn)
    name, parameters = fn.__name__, signature.parameters
    problems = [
        _unknown_argument(given, list(parameters))
        for given in options
        if given not in parameters
    ]
    positional = [p for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
    extra = args[len(positional) :]
    if extra:
        by_name = [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY]
        given = ", ".join(
            f"{key}={value!r}" for key, value in zip(by_name, extra, strict=False)
        )
        first = ", ".join(f"{arg!r}" for arg in args[: len(positional)])
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
        problems.append(f"needs {' and '.join(missing)}")
    problems = problems or ["got an argument twice"]
    return f"{name}: {'; '.join(problems)}; write {name}({_short(signature)})"


def _short(signature: inspect.Signature) -> str:
    """The arguments without their types."""
    shown, by_name = [], False
    for p in signature.parameters.values():
        if p.kind is p.KEYWORD_ONLY and not by_name:
            by_name = True
            shown.append("*")
        if p.default is p.empty:
            shown.append(str(p.replace(annotation=p.empty)))
        else:
            shown.append(
                f"{p.name}={'...' if callable(p.default) else repr(p.default)}"
            )
    return ", ".join(shown)


def _unknown_argument(given: str, ours: list[str]) -> str:
    known = [name for name in _ARGUMENTS.get(given, ()) if name in ours]
    known = known or difflib.get_close_matches(given, ours, n=1, cutoff=0.6)
    if known:
        return f"{given!r} is called {' and '.join(known)} here"
    return f"has no argument {given!r}"
