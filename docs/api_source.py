"""What the API reference is made from: the public names of the package, as written.

The source is read and not imported, so that signatures are shown as they were written,
defaults and type names included, and the pages are the same on every machine.
"""

import ast
import functools
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
SECTION = re.compile(r"^(Args|Returns|Raises|Source|Example):[ \n]", re.MULTILINE)


class Entry(NamedTuple):
    """A public name, and the statement that defines it."""

    name: str
    module: str  # where users find it: `lucid_fn.nn`
    home: str  # where it is written: `lucid_fn.nn.linear`
    node: ast.stmt
    doc: str

    @property
    def title(self) -> str:
        """The name as users write it: `nn.linear`, `lf.jit`."""
        shown = self.module.removeprefix("lucid_fn").removeprefix(".") or "lf"
        return f"{shown}.{self.name}"

    @property
    def sentence(self) -> str:
        return first_sentence(self.doc)

    @property
    def parameters(self) -> set[str]:
        """The names of the arguments of a function."""
        if not isinstance(self.node, ast.FunctionDef):
            return set()
        return parameters(self.node)


class Section(NamedTuple):
    """A part of a docstring; the first has no title."""

    title: str
    text: str


def path_of(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def read(module: str) -> tuple[str, ast.Module]:
    source = path_of(module).read_text()
    return source, ast.parse(source)


def imports(module: str) -> Iterator[tuple[str, ast.alias]]:
    """What a module takes from others of the library."""
    for node in read(module)[1].body:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("lucid_fn"):
            for alias in node.names:
                yield str(node.module), alias


def definitions(module: str) -> dict[str, tuple[ast.stmt, str]]:
    """The statements of a module that define a name, each with its docstring."""
    found: dict[str, tuple[ast.stmt, str]] = {}
    body = read(module)[1].body
    for node, following in itertools.pairwise([*body, None]):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node, ast.get_docstring(node) or ""
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            if isinstance(target, ast.Name):
                found[target.id] = node, string(following)
    return found


def string(node: ast.stmt | None) -> str:
    """The string below a constant, which documents it."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return inspect.cleandoc(str(node.value.value))
    return ""


def locate(module: str, name: str) -> tuple[str, ast.stmt, str] | None:
    """The module, the statement and the docstring of a name; None for a module."""
    if name in definitions(module):
        return module, *definitions(module)[name]
    for source, alias in imports(module):
        if (alias.asname or alias.name) == name and path_of(source) != path_of(module):
            return locate(source, alias.name)
    return None


def public_names(module: str) -> list[str]:
    """What a module exports, in the order of its imports and definitions."""
    exported = [alias.asname for _, alias in imports(module) if alias.asname]
    own = [name for name in definitions(module) if not name.startswith("_")]
    if "__all__" not in definitions(module):
        return exported + own
    statement = definitions(module)["__all__"][0]
    assert isinstance(statement, ast.Assign)
    listed = ast.literal_eval(statement.value)
    return [
        name
        for name in dict.fromkeys([*(a.name for _, a in imports(module)), *own])
        if name in listed
    ]


@functools.cache
def entries(module: str) -> tuple[Entry, ...]:
    """The public names of a module, but its submodules."""
    found = ((name, locate(module, name)) for name in public_names(module))
    return tuple(Entry(name, module, *place) for name, place in found if place)


def parameters(function: ast.FunctionDef) -> set[str]:
    args = function.args
    every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    return {arg.arg for arg in every if arg and arg.arg != "self"}


def names_in(node: ast.AST) -> list[str]:
    return [part.id for part in ast.walk(node) if isinstance(part, ast.Name)]


def annotated(function: ast.FunctionDef) -> list[str]:
    """The names in the annotations of a function."""
    notes = [
        part.annotation
        for part in ast.walk(function.args)
        if hasattr(part, "annotation")
    ]
    return [
        name for note in [*notes, function.returns] if note for name in names_in(note)
    ]


def about(module: str) -> str:
    """The docstring of a module."""
    return ast.get_docstring(read(module)[1]) or ""


def first_sentence(doc: str) -> str:
    """The paragraph that a docstring begins with, up to a full stop."""
    first = " ".join(doc.split("\n\n")[0].split())
    return re.split(r"(?<=[^.]\.) (?=[A-Z`])", first)[0]


def sections(doc: str) -> list[Section]:
    """A docstring cut at its titles; a `Source` is a paragraph, not indented."""
    starts = [match.start() for match in SECTION.finditer(doc)] + [len(doc)]
    parts = [Section("", doc[: starts[0]].strip())]
    for start, end in itertools.pairwise(starts):
        title, text = doc[start:end].split(":", 1)
        parts.append(Section(title, textwrap.dedent(text.strip("\n")).strip()))
    return parts


def items(text: str) -> dict[str, str]:
    """`name: meaning` items, as in `Args` and `Raises`, whose later lines hang."""
    found: dict[str, str] = {}
    for item in re.split(r"\n(?=\S)", text):
        name, _, meaning = item.partition(":")
        found[name] = " ".join(meaning.split())
    return found
