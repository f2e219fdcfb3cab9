"""How the documentation site is built: `make site`."""

import re
import sys
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref, toctree
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.transforms.post_transforms import SphinxPostTransform

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import lucid_fn  # noqa: E402  # the sources beside this file, not an installed copy

project = "lucid_fn"
author = "The lucid_fn developers"
copyright = author  # Sphinx's name for it
release = lucid_fn.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_theme = "furo"
html_title = "lucid_fn"
html_copy_source = False
html_show_copyright = html_show_sphinx = False
pygments_style, pygments_dark_style = "friendly", "monokai"

# Tutorials are notebooks in Markdown; their output is that of the latest build.
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
nb_execution_timeout = 600
nb_merge_streams = True

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # shapes and dtypes are in the docstrings
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
add_module_names = False
napoleon_custom_sections = ["Source"]
napoleon_use_rtype = False
# Docstrings write code in single backticks; names of the library become links.
default_role = "py:obj"


def find_object(app: Sphinx, target: str) -> str | None:
    """The full name of what users write as `nn.linear`, `lf.jit` or `nn.linear(3, 2)`.

    A single word is no name: `train` is an argument more often than a package.
    """
    if "." not in target:
        return None
    objects = app.env.domaindata["py"]["objects"]
    target = re.sub(r"\(.*\)$", "", target)
    short = target.removeprefix("lf.")
    for name in (target, f"lucid_fn.{short}"):
        if name in objects and name.startswith("lucid_fn."):
            return name
    return None


def resolve(
    app: Sphinx, env: Any, node: pending_xref, content: nodes.Node
) -> nodes.Node | None:
    """Makes a link of a name that is written as users write it."""
    name = find_object(app, node.get("reftarget", ""))
    if name is None or node.get("refdomain") != "py":
        return None
    return env.domains["py"].resolve_xref(
        env, node["refdoc"], app.builder, "obj", name, node, content
    )


class LinkNames(SphinxPostTransform):
    """Makes links of the code in pages that is a name of the library."""

    default_priority = 5

    def run(self, **options: Any) -> None:
        for node in list(self.document.findall(nodes.literal)):
            inside = isinstance(node.parent, nodes.reference | pending_xref)
            name = None if inside else find_object(self.app, node.astext())
            if name is not None:
                link = pending_xref(
                    "",
                    node.deepcopy(),
                    refdomain="py",
                    reftype="obj",
                    reftarget=name,
                    refdoc=self.env.current_document.docname,
                    refexplicit=True,
                )
                node.replace_self(link)


def shorten_sidebar(app: Sphinx, env: Any) -> list[str]:
    """Leaves the pages of single names out of the sidebar, which is on every page.

    They are reached from the page of their package, and by the search. With them in it,
    the sidebars take most of the time of a build.
    """
    for toc in env.tocs.values():
        for node in list(toc.findall(toctree)):
            if all(name.startswith("api/generated/") for name in node["includefiles"]):
                node.parent.remove(node)
    return []


def skip_fields(
    app: Sphinx, what: str, name: str, value: Any, skip: bool, options: Any
) -> bool | None:
    """Leaves out the fields of named tuples, which the signature lists already."""
    return True if type(value).__name__ == "_tuplegetter" else None


def describe_value(
    app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Gives a constant or an alias the text below it in the module that it is from."""
    short = name.rpartition(".")[2]
    for module in [m for m in sys.modules if m.startswith("lucid_fn")]:
        if what == "data" and vars(sys.modules[module]).get(short) is value:
            analyzer = ModuleAnalyzer.for_module(module)
            analyzer.analyze()
            lines[:] = analyzer.attr_docs.get(("", short), lines)


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-docstring", describe_value, priority=600)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("env-updated", shorten_sidebar)
    app.connect("missing-reference", resolve)
    app.add_post_transform(LinkNames)
