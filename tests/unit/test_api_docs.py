"""The API reference is what the docstrings make, and the docstrings are complete."""

import ast
import builtins
import doctest

import pytest

import lucid_fn
from docs import api_source, api_topics, generate_api

ENTRIES = [
    entry
    for module in api_topics.MODULES
    for entry in api_source.entries(module)
    if generate_api.owner(entry) == module
]
FUNCTIONS = [entry for entry in ENTRIES if isinstance(entry.node, ast.FunctionDef)]


def described(doc: str) -> set[str]:
    """The names in the `Args` of a docstring."""
    sections = {section.title: section.text for section in api_source.sections(doc)}
    items = api_source.items(sections.get("Args", ""))
    return {name.lstrip("*") for name in items} - {""}


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


def test_the_committed_pages_are_what_the_docstrings_make(tmp_path):
    generate_api.write(tmp_path)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    kept = {path.name: path.read_text() for path in generate_api.API.iterdir()}
    stale = [name for name in made | kept if made.get(name) != kept.get(name)]
    assert not stale, "run `make docs`"


@pytest.mark.parametrize("module", api_topics.MODULES)
def test_the_order_of_a_page_names_files_that_are_on_it(module):
    files = {home.split(".")[-1] for home in generate_api.topics(module)}
    assert files >= set(api_topics.MODULES[module].split())


def test_our_names_in_the_tables_of_names_are_links():
    table = generate_api.NAMES.read_text()
    assert table == generate_api.names(table), "run `make docs`"


def test_every_public_name_of_the_package_has_a_page():
    shown = {module.split(".")[1] for module in list(api_topics.MODULES)[1:]}
    shown |= {entry.name for entry in api_source.entries("lucid_fn")}
    assert shown >= set(lucid_fn.__all__)


def test_every_docstring_begins_with_a_sentence():
    assert not [e.title for e in ENTRIES if not e.sentence.endswith(".")]


def test_args_describes_every_parameter_of_every_function():
    wrong = {e.title: described(e.doc) ^ e.parameters for e in FUNCTIONS}
    assert not {title: names for title, names in wrong.items() if names}


def test_args_describes_every_parameter_of_every_method():
    wrong = {
        f"{entry.title}.{method.name}": described(ast.get_docstring(method) or "")
        ^ api_source.parameters(method)
        for entry in ENTRIES
        for method in getattr(entry.node, "body", [])
        if isinstance(entry.node, ast.ClassDef)
        and isinstance(method, ast.FunctionDef)
        and not method.name.startswith("_")
    }
    assert not {title: names for title, names in wrong.items() if names}


def test_every_function_has_an_example_that_can_be_copied():
    programs = {
        entry.title: doctest.DocTestParser().get_examples(entry.doc)
        for entry in FUNCTIONS
    }
    assert not [title for title, program in programs.items() if not program]
    missing = {
        title: unbound("".join(example.source for example in program))
        for title, program in programs.items()
    }
    assert not {title: names for title, names in missing.items() if names}
