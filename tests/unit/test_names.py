"""The tables of names in lucid_fn/names.md name what there is, here and elsewhere."""

import functools
import importlib
import inspect
import re
from pathlib import Path

import mlx.core as mx
import pytest

import lucid_fn
from lucid_fn import testing, types

PAGE = (Path(__file__).parents[2] / "lucid_fn" / "names.md").read_text()
OURS = {"lf": lucid_fn, "mx": mx, "testing": testing, "types": types}
CODE = re.compile(r"`([^`]+)`")


def tables() -> dict[str, list[list[str]]]:
    """The cells of each row by the heading above."""
    found = {}
    for part in PAGE.split("\n## ")[1:]:
        heading, body = part.split("\n", 1)
        rows = [line for line in body.splitlines() if line.startswith("| ")]
        found[heading] = [
            [cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]
        ]
    return found


TABLES = tables()


def names(library: str, column: int) -> list[str]:
    return [name for row in TABLES[library] for name in CODE.findall(row[column])]


def resolve(root: object, path: str) -> object:
    return functools.reduce(getattr, path.split("."), root)


def import_each(library: str) -> object:
    """The innermost module or class of a dotted name."""
    root, _, rest = library.partition(".")
    module = pytest.importorskip(root)
    for part in filter(None, rest.split(".")):
        if not hasattr(module, part):
            module = importlib.import_module(f"{module.__name__}.{part}")
        else:
            module = getattr(module, part)
    return module


def test_the_top_of_the_page_links_to_each_table():
    assert set(re.findall(r"\[([^\]]+)\]\(#", PAGE.split("\n## ")[0])) == TABLES.keys()


@pytest.mark.parametrize("library", TABLES)
def test_each_row_says_what_it_is_here_or_what_to_use_instead(library):
    for row in TABLES[library]:
        assert len(row) == 3, row
        theirs, ours, differs = row
        assert CODE.search(theirs), row
        assert CODE.search(ours) or (ours == "not here" and differs), row


@pytest.mark.parametrize("library", TABLES)
def test_our_names_exist(library):
    for name in names(library, 1):
        first, _, rest = name.partition(".")
        root = OURS[first] if first in OURS else getattr(lucid_fn, first)
        resolve(root, rest)


@pytest.mark.parametrize("library", TABLES)
def test_our_names_in_remarks_exist(library):
    modules = "|".join([*OURS, *(m for m in lucid_fn.__all__ if m.islower())])
    for code in names(library, 2):
        for name in re.findall(rf"(?<![\w.])(?:{modules})\.[\w.]*\w", code):
            first, _, rest = name.partition(".")
            root = OURS[first] if first in OURS else getattr(lucid_fn, first)
            resolve(root, rest)


@pytest.mark.parametrize(
    "library",
    [name for name in TABLES if re.match(r"(torch|mlx|jax)(\.|$)", name)],
)
def test_their_names_exist(library):
    module = import_each(library)
    for name in names(library, 0):
        resolve(module, name)


@pytest.mark.parametrize("library", TABLES)
def test_no_name_has_two_rows(library):
    theirs = names(library, 0)
    assert len(theirs) == len(set(theirs))


def test_names_in_the_prose_between_tables_are_no_rows():
    with pytest.raises(AttributeError, match="nn has no attribute 'ops'"):
        lucid_fn.nn.ops  # noqa: B018  # the look-up is what fails


def test_a_name_in_both_nn_and_ops_is_one_function_or_a_layer_of_it():
    for name in {*lucid_fn.nn.__all__} & {*lucid_fn.ops.__all__}:
        here, there = (
            inspect.signature(getattr(module, name))
            for module in (lucid_fn.nn, lucid_fn.ops)
        )
        assert here == there or here.return_annotation is lucid_fn.nn.Layer, name


@pytest.mark.parametrize("library", TABLES)
def test_arguments_in_remarks_are_arguments_of_ours(library):
    """In "`decay` for `alpha`" `decay` is an argument of one of the row's functions."""
    for _, ours, differs in TABLES[library]:
        for renamed in re.findall(r"((?:`\w+`, )*`\w+`)(?:, \w+,)? for `", differs):
            functions = [
                resolve(OURS.get(first, getattr(lucid_fn, first, None)), rest)
                for first, _, rest in (n.partition(".") for n in CODE.findall(ours))
            ]
            for argument in CODE.findall(renamed):
                assert any(
                    argument in inspect.signature(function).parameters
                    for function in functions
                    if callable(function)
                ), (ours, argument)
