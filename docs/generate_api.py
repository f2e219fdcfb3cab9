"""Writes the API reference, `docs/api/*.md`, from the docstrings: `make docs`.

The tables in `docs/names.md` get links into it.

Tools for this exist. Those that write HTML (pdoc, Sphinx, mkdocstrings) need a site;
those that write Markdown know Google's sections only, not `Source`, and print the types
of a signature in full. What is left to do by hand is here and in `api_source.py`.
"""

import ast
import doctest
import functools
import itertools
import re
import subprocess
import sys
from pathlib import Path

from docs.api_source import (
    ROOT,
    Entry,
    Section,
    about,
    annotated,
    entries,
    first_sentence,
    items,
    locate,
    names_in,
    read,
    sections,
)
from docs.api_topics import MODULES

API = ROOT / "docs" / "api"
NAMES = ROOT / "docs" / "names.md"
NOTE = "<!-- Made from the docstrings by docs/generate_api.py: run `make docs`. -->"
WIDTH = 88


def anchors(module: str) -> dict[str, str]:
    """The anchor that GitHub gives to the heading of each name."""
    used: dict[str, int] = {}
    found = {}
    for entry in itertools.chain(*topics(module).values()):
        if owner(entry) != module:
            continue
        slug = re.sub(r"[^\w-]", "", entry.title.lower())
        number = used[slug] = used.get(slug, -1) + 1
        found[entry.name] = f"{slug}-{number}" if number else slug
    return found


def short(module: str) -> str:
    return module.removeprefix("lucid_fn.")


def file_name(module: str) -> str:
    return f"{short(module)}.md"


def module_link(module: str) -> str:
    return f"[{short(module)}]({file_name(module)})"


def owner(entry: Entry) -> str:
    """The module on whose page an entry is described: that where it is written."""
    for module in list(MODULES)[1:]:
        inside = entry.home == module or entry.home.startswith(f"{module}.")
        if inside and any(e.node is entry.node for e in entries(module)):
            return module
    return entry.module


def place(entry: Entry) -> str:
    """Where an entry is described: `nn.md#nnlinear`."""
    home = owner(entry)
    name = next(e.name for e in entries(home) if e.node is entry.node)
    return f"{file_name(home)}#{anchors(home)[name]}"


def link(entry: Entry, page: str, text: str) -> str:
    """A link to the description of an entry, from the page of a module."""
    return f"[`{text}`]({place(entry).removeprefix(file_name(page))})"


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


def aliases(entry: Entry) -> str:
    """What the names of types in a signature stand for, where they have no page."""
    if not isinstance(entry.node, ast.FunctionDef):
        return ""
    described = {id(e.node) for module in MODULES for e in entries(module)}
    queue = [(entry.home, name) for name in annotated(entry.node)]
    found: dict[str, str] = {}
    for home, name in queue:
        source, node, _ = locate(home, name) or (home, None, "")
        value = getattr(node, "value", None)
        known = name in found or id(node) in described
        if isinstance(value, ast.BinOp | ast.Subscript) and not known:
            found[name] = f"`{name}` is `{ast.unparse(value)}`".replace("'", "")
            queue += [(source, inner) for inner in names_in(value)]
    return "; ".join(found.values()) + "." if found else ""


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


@functools.cache
def titles() -> dict[str, Entry]:
    """All entries, as they are called in text."""
    return {entry.title: entry for module in MODULES for entry in entries(module)}


def linked(text: str, module: str, own: frozenset[str] = frozenset()) -> str:
    """The text with links where it names others: with its module, or of the same one.

    Those in `own` are the entry itself and its arguments.
    """
    here = {entry.name: entry for entry in entries(module)}

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        entry = titles().get(name.removeprefix("lucid_fn."))
        if entry is None and name not in own:
            entry = here.get(name)
        if entry is None or entry.name in own:
            return match[0]
        return link(entry, module, name)

    return re.sub(r"`([\w.]+)`", replaced, text)


def rendered(section: Section, entry: Entry) -> str:
    """A part of a docstring as Markdown."""
    title, text = section
    if title == "Example":
        return f"**{title}**\n\n{example(text)}"
    own = frozenset({entry.name, *entry.parameters})
    if title in ("Args", "Raises"):
        lines = [
            f"- `{name}`: {linked(said, entry.module, own)}"
            for name, said in items(text).items()
        ]
        return f"**{title}**\n\n" + "\n".join(lines)
    text = linked(text, entry.module, own)
    if title:
        return f"**{title}:** {text}"
    return re.sub(r"(^|\. )(Params|State): ", r"\1**\2:** ", text, flags=re.MULTILINE)


def described(entry: Entry) -> str:
    """A heading, the signature, the docstring, and the same of public methods."""
    parts = [f"### `{entry.title}`", fenced(signature(entry)), aliases(entry)]
    parts += [rendered(section, entry) for section in sections(entry.doc)]
    if isinstance(entry.node, ast.ClassDef):
        for method in entry.node.body:
            if isinstance(method, ast.FunctionDef) and method.name[0] != "_":
                doc = ast.get_docstring(method) or ""
                parts += [f"#### `{entry.title}.{method.name}`"]
                head = unparsed(method).removesuffix(": ...")
                parts += [fenced(head)]
                parts += [rendered(section, entry) for section in sections(doc)]
    return "\n\n".join(part for part in parts if part)


def topics(module: str) -> dict[str, list[Entry]]:
    """The entries of a module by the file they are written in, states last."""
    found: dict[str, list[Entry]] = {}
    for entry in entries(module):
        found.setdefault(entry.home, []).append(entry)
    named = MODULES[module].split()

    def rank(home: str) -> int:
        file = home.split(".")[-1]
        return named.index(file) if file in named else len(named)

    return {
        home: sorted(found[home], key=lambda entry: entry.name.endswith("State"))
        for home in sorted(found, key=rank)
    }


def page(module: str) -> str:
    """The page of a module: its topics with links, then all entries."""
    contents, body = ["| topic | names |", "| --- | --- |"], []
    for home, group in topics(module).items():
        title = first_sentence(about(home)).rstrip(".")
        links = " ".join(link(entry, module, entry.name) for entry in group)
        contents.append("| {} | {} |".format(title.replace("|", r"\|"), links))
        own = [entry for entry in group if owner(entry) == module]
        if own:
            body += [f"## {title}", *map(described, own)]
    if len(topics(module)) == 1:
        contents, body = [links], body[1:]
    inner = [m for m in MODULES if m.startswith(f"{module}.") and "." in module]
    ways = ", ".join(["[All modules](README.md)", *map(module_link, inner)])
    top = [NOTE, f"# {short(module)}", ways, linked(about(module), module)]
    return "\n\n".join([*top, "\n".join(contents), *body]) + "\n"


INDEX = """\
# API reference

Every public name, with its first sentence. `lf` stands for `import lucid_fn as lf`, and
the modules come from `from lucid_fn import nn, optim, ...`. The types in signatures
(`Array`, `Params`, `Tree`, ...) are in [types](types.md). Names of PyTorch, mlx.nn,
optax, flax and jax, and what they are called here, are in [names](../names.md).\
"""


def index() -> str:
    """The page with the first sentence of every name."""
    parts = [NOTE, INDEX]
    for module in MODULES:
        lines = [
            f"- {link(entry, 'index', entry.title)}: {entry.sentence}"
            for group in topics(module).values()
            for entry in group
        ]
        head = f"## {module_link(module)}"
        parts += [head, first_sentence(about(module)), "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def pages() -> dict[str, str]:
    """All pages by the name of their file."""
    return {"README.md": index()} | {file_name(m): page(m) for m in MODULES}


def names(text: str) -> str:
    """The tables of names from elsewhere, with links where ours stand in them."""
    text = re.sub(r"\[(`[^`]+`)\]\(api/[^)]*\)", r"\1", text)

    def replaced(match: re.Match[str]) -> str:
        entry = titles().get(match[1])
        return f"[{match[0]}](api/{place(entry)})" if entry else match[0]

    rows = [line.split(" | ") for line in text.split("\n")]
    return "\n".join(
        " | ".join([row[0], *(re.sub(r"`([\w.]+)`", replaced, c) for c in row[1:])])
        for row in rows
    )


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
    NAMES.write_text(names(NAMES.read_text()))
