"""Writes the API reference, `docs/api/*.md`, from the docstrings: `make docs`.

The source is read and not imported, so that signatures are shown as they were written,
defaults and type names included, and the pages are the same on every machine.

Tools for this exist. Those that write HTML (pdoc, Sphinx, mkdocstrings) need a site;
those that write Markdown know Google's sections only, not `Source`, and print the types
of a signature in full. What is left to do by hand is what is below.
"""

import ast
import doctest
import functools
import inspect
import itertools
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
API = ROOT / "docs" / "api"

MODULES = (
    "lucid_fn",
    "lucid_fn.nn",
    "lucid_fn.nn.initializers",
    "lucid_fn.ops",
    "lucid_fn.losses",
    "lucid_fn.metrics",
    "lucid_fn.optim",
    "lucid_fn.schedules",
    "lucid_fn.random",
    "lucid_fn.tree",
    "lucid_fn.data",
    "lucid_fn.train",
    "lucid_fn.models",
    "lucid_fn.interop.torch",
    "lucid_fn.interop.compare",
    "lucid_fn.plot",
    "lucid_fn.testing",
    "lucid_fn.runtime",
    "lucid_fn.doctor",
    "lucid_fn.types",
)
"""One page each, in the order of the index."""

NOTE = "<!-- Made from the docstrings by docs/generate_api.py: run `make docs`. -->"
SECTION = re.compile(r"^(Args|Returns|Raises|Source|Example):[ \n]", re.MULTILINE)
WIDTH = 88


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
        first = self.doc.split("\n\n")[0]
        return " ".join(re.split(r"(?<=\.)\n", first)[0].split())


class Section(NamedTuple):
    """A part of a docstring; the first has no title."""

    title: str
    text: str


# Reading


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


# Writing


def anchors(module: str) -> dict[str, str]:
    """The anchor that GitHub gives to the heading of each name."""
    used: dict[str, int] = {}
    found = {}
    for entry in entries(module):
        slug = re.sub(r"[^\w-]", "", entry.title.lower())
        number = used[slug] = used.get(slug, -1) + 1
        found[entry.name] = f"{slug}-{number}" if number else slug
    return found


def file_name(module: str) -> str:
    return f"{module.removeprefix('lucid_fn.')}.md"


def owner(entry: Entry) -> str:
    """The module on whose page an entry is described: that where it is written."""
    for module in MODULES[1:]:
        inside = entry.home == module or entry.home.startswith(f"{module}.")
        if inside and any(e.node is entry.node for e in entries(module)):
            return module
    return entry.module


def link(entry: Entry, page: str, text: str) -> str:
    """A link to the description of an entry, from the page of a module."""
    home = owner(entry)
    place = "" if home == page else file_name(home)
    name = next(e.name for e in entries(home) if e.node is entry.node)
    return f"[`{text}`]({place}#{anchors(home)[name]})"


def signature(entry: Entry) -> str:
    """The statement as it is written, less its docstring and its body."""
    lines = read(entry.home)[0].splitlines()
    node = entry.node
    start, end = node.lineno, node.end_lineno or node.lineno
    if isinstance(node, ast.FunctionDef):
        end = node.body[0].lineno - 1
        return "\n".join(lines[start - 1 : end]).rstrip(":")
    if isinstance(node, ast.ClassDef):
        fields = [n for n in node.body if isinstance(n, ast.AnnAssign)]
        shown = lines[start - 1 : node.body[0].lineno - 1]
        for field in fields:
            shown += lines[field.lineno - 1 : field.end_lineno]
        shown += [
            f"    {unparsed(method)}"
            for method in node.body
            if isinstance(method, ast.FunctionDef) and shows(method)
        ]
        return "\n".join(shown) if len(shown) > 1 else shown[0].rstrip(":")
    return "\n".join(lines[start - 1 : end])


def shows(method: ast.FunctionDef) -> bool:
    return method.name in ("__call__", "__len__", "__iter__")


def unparsed(function: ast.FunctionDef) -> str:
    """The head of a method in one line."""
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return f"def {function.name}({ast.unparse(function.args)}){returns}: ..."


def example(text: str) -> str:
    """A doctest as a program to copy, its output in comments."""
    lines: list[str] = []
    for part in doctest.DocTestParser().get_examples(text):
        source, want = part.source.rstrip("\n"), part.want.rstrip("\n")
        source = source.replace("  # doctest: +SKIP", "")
        short = f"{source}  # {want}"
        if want and "\n" not in short and len(short) <= WIDTH:
            source, want = short, ""
        lines += [source, *(f"# {line}".rstrip() for line in want.splitlines())]
    return fenced("\n".join(lines))


def fenced(code: str) -> str:
    return f"```python\n{code}\n```"


def bullets(text: str) -> str:
    return "\n".join(f"- `{name}`: {said}" for name, said in items(text).items())


def rendered(section: Section) -> str:
    title, text = section
    if title in ("Args", "Raises"):
        return f"**{title}**\n\n{bullets(text)}"
    if title == "Example":
        return f"**{title}**\n\n{example(text)}"
    if title:
        return f"**{title}:** {text}"
    return re.sub(r"(^|\. )(Params|State): ", r"\1**\2:** ", text, flags=re.MULTILINE)


def described(entry: Entry) -> str:
    """A heading, the signature, the docstring, and the same of public methods."""
    parts = [f"### `{entry.title}`", fenced(signature(entry))]
    parts += [rendered(section) for section in sections(entry.doc)]
    if isinstance(entry.node, ast.ClassDef):
        for method in entry.node.body:
            if isinstance(method, ast.FunctionDef) and method.name[0] != "_":
                doc = ast.get_docstring(method) or ""
                parts += [f"#### `{entry.title}.{method.name}`"]
                head = unparsed(method).removesuffix(": ...")
                parts += [fenced(head), *map(rendered, sections(doc))]
    return "\n\n".join(part for part in parts if part)


def topics(module: str) -> dict[str, list[Entry]]:
    """The entries of a module by the file they are written in, states last."""
    found: dict[str, list[Entry]] = {}
    for entry in entries(module):
        found.setdefault(entry.home, []).append(entry)
    return {
        home: sorted(group, key=lambda entry: entry.name.endswith("State"))
        for home, group in found.items()
    }


def about(module: str) -> str:
    return ast.get_docstring(read(module)[1]) or ""


def headline(module: str) -> str:
    """What is written in a file, in the words of its docstring."""
    return " ".join(about(module).split("\n\n")[0].split())


def page(module: str) -> str:
    """The page of a module: its topics with links, then all entries."""
    shown = module.removeprefix("lucid_fn.")
    contents, body = ["| topic | names |", "| --- | --- |"], []
    for home, group in topics(module).items():
        title = headline(home).rstrip(".")
        links = " ".join(link(entry, module, entry.name) for entry in group)
        contents.append(f"| {title} | {links} |")
        own = [entry for entry in group if owner(entry) == module]
        if own:
            body += [f"## {title}", *map(described, own)]
    if len(topics(module)) == 1:
        contents, body = [links], body[1:]
    top = [NOTE, f"# {shown}", "[All modules](README.md)", about(module)]
    return "\n\n".join([*top, "\n".join(contents), *body]) + "\n"


INDEX = """\
# API reference

Every public name, with its first sentence. `lf` stands for `import lucid_fn as lf`, and
the modules come from `from lucid_fn import nn, optim, ...`. The types in signatures
(`Array`, `Params`, `Tree`, ...) are in [types](types.md). Names of PyTorch, mlx.nn,
optax, flax and jax, and what they are called here, are in [names](../names.md).\
"""


def index() -> str:
    parts = [NOTE, INDEX]
    for module in MODULES:
        shown = module.removeprefix("lucid_fn.")
        lines = [
            f"- {link(entry, '', entry.title)}: {entry.sentence}"
            for group in topics(module).values()
            for entry in group
        ]
        parts += [
            f"## [{shown}]({file_name(module)})",
            headline(module),
            "\n".join(lines),
        ]
    return "\n\n".join(parts) + "\n"


def pages() -> dict[str, str]:
    """All pages by the name of their file."""
    return {"README.md": index()} | {file_name(m): page(m) for m in MODULES}


def write(folder: Path) -> None:
    """Writes all pages into a folder that holds nothing else, and formats their code.

    Ruff does so, since it checks the code in Markdown as it does all other.
    """
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.md"):
        old.unlink()
    for name, text in pages().items():
        (folder / name).write_text(text)
    ruff = [sys.executable, "-m", "ruff", "format", "--quiet", "--no-cache"]
    subprocess.run([*ruff, "--config", ROOT / "pyproject.toml", folder], check=True)


if __name__ == "__main__":
    write(API)
