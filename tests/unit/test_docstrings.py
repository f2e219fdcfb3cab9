"""The docstrings of all public names are complete, and their examples can be copied."""

import ast
import builtins
import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

import lucid_fn

PACKAGES = [
    "lucid_fn",
    *(
        f"lucid_fn.{name}"
        for name in lucid_fn.__all__
        if inspect.ismodule(getattr(lucid_fn, name))
    ),
    "lucid_fn.cpu.runtime",
    "lucid_fn.interop.compare",
    "lucid_fn.interop.huggingface",
    "lucid_fn.interop.onnx",
    "lucid_fn.interop.torch",
    "lucid_fn.nn.initializers",
    "lucid_fn.ops.linalg",
    "lucid_fn.testing",
]
API = Path(__file__).parents[2] / "docs" / "api"
SAME_ARGS = re.compile(r"arguments are those of\s+`(\w+)`")
SECTION = re.compile(r"^(Args|Returns|Raises|Source|Example):[ \n]", re.MULTILINE)
ITEM = re.compile(r"^    (\*{0,2}\w+)(?:, (\*{0,2}\w+))*:", re.MULTILINE)


def own_names(package: str) -> list[str]:
    """The public names of a package that are not packages themselves."""
    module = importlib.import_module(package)
    return [n for n in module.__all__ if not inspect.ismodule(getattr(module, n))]


def public():
    """The functions and classes of each package by the names that users write."""
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in getattr(module, "__all__", []):
            value = getattr(module, name)
            if inspect.isfunction(value) or inspect.isclass(value):
                yield f"{package}.{name}", value


PUBLIC = dict(public())
FUNCTIONS = {name: value for name, value in PUBLIC.items() if inspect.isfunction(value)}
METHODS = {
    f"{name}.{attribute}": method
    for name, value in PUBLIC.items()
    if inspect.isclass(value)
    for attribute, method in vars(value).items()
    if inspect.isfunction(method) and not attribute.startswith("_")
}


def sections(doc: str) -> dict[str, str]:
    """The parts of a docstring by their headings."""
    parts = SECTION.split(doc)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def described(name: str, function) -> set[str]:
    """The names in the `Args` of a function, or of the one whose arguments it has."""
    doc = inspect.getdoc(function) or ""
    same = SAME_ARGS.search(doc)
    if same and "Args" not in sections(doc):
        doc = inspect.getdoc(PUBLIC[f"{name.rpartition('.')[0]}.{same[1]}"])
    args = sections(doc).get("Args", "")
    lines = [line for line in args.splitlines() if re.match(r"    \S", line)]
    found = (re.findall(r"\*{0,2}(\w+)", line.partition(":")[0]) for line in lines)
    return {name for names in found for name in names}


def parameters(function) -> set[str]:
    return set(inspect.signature(function).parameters) - {"self"}


def as_ruff_sorts(name: str) -> tuple[bool, bool, list[str]]:
    """Constants, then classes, then everything else; numbers by their size."""
    parts = [
        part.zfill(9) if part.isdigit() else part for part in re.split(r"(\d+)", name)
    ]
    return not name.isupper(), not name[0].isupper(), parts


def unbound(program: str) -> set[str]:
    """The names that a program uses and neither imports nor defines."""
    nodes = list(ast.walk(ast.parse(program)))
    bound = set(dir(builtins))
    for node in nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                bound.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                bound.add(name)
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                bound |= {a.asname or a.name.split(".")[0] for a in aliases}
    return {node.id for node in nodes if isinstance(node, ast.Name)} - bound


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_lists_its_names_and_says_what_it_is_for(package):
    module = importlib.import_module(package)
    assert module.__doc__
    assert sorted(module.__all__, key=as_ruff_sorts) == module.__all__
    assert {name for name in dir(module) if not name.startswith("_")} == set(
        module.__all__
    ) - {"__version__"}


def test_every_package_has_a_page():
    pages = {page.stem for page in API.glob("*.md")} - {"index"}
    packages = {name for name in PACKAGES if own_names(name)}
    assert pages == {name.removeprefix("lucid_fn.") for name in packages}


@pytest.mark.parametrize("package", [p for p in PACKAGES if own_names(p)])
def test_a_page_lists_each_name_of_its_package_once(package):
    page = (API / f"{package.removeprefix('lucid_fn.')}.md").read_text()
    assert f".. automodule:: {package}\n" in page
    assert sorted(re.findall(r"^   (\w+)$", page, re.M)) == sorted(own_names(package))


def test_every_docstring_begins_with_a_sentence():
    first = {
        name: (inspect.getdoc(value) or "").split("\n\n")[0]
        for name, value in PUBLIC.items()
    }
    assert not [name for name, text in first.items() if not text.endswith((".", ":"))]


def test_args_describes_every_parameter():
    found = {
        name: described(name, function) ^ parameters(function)
        for name, function in (FUNCTIONS | METHODS).items()
    }
    assert not {name: names for name, names in found.items() if names}


def test_every_function_has_an_example_that_can_be_copied():
    programs = {
        name: doctest.DocTestParser().get_examples(inspect.getdoc(function) or "")
        for name, function in FUNCTIONS.items()
    }
    assert not [name for name, program in programs.items() if not program]
    missing = {
        name: unbound("".join(example.source for example in program))
        for name, program in programs.items()
    }
    assert not {name: names for name, names in missing.items() if names}
