"""The Python blocks of pages run, each page as one program, and their links hold."""

import functools
import itertools
import re
from pathlib import Path

import pytest

from tests.e2e.run_page import blocks, run
from tests.fusion import unfused

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
)
PROGRAMS = [page for page in PAGES if blocks(page)]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PROGRAMS, ids=named)
def test_the_python_blocks_of_a_page_run(page, monkeypatch, tmp_path):
    if "import onnxruntime" in page.read_text():
        pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    with unfused():
        run(page)


@functools.cache
def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links, as GitHub does it."""
    found: set[str] = set()
    prose = re.sub(
        r"^```.*?^```$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE
    )
    for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        again = (f"{slug}-{number}" for number in itertools.count(1))
        found.add(
            slug if slug not in found else next(a for a in again if a not in found)
        )
    return found


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_the_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor:
            assert anchor in anchors(there), f"{page.name}: {target}"


def test_a_version_in_the_changelog_has_each_heading_and_entry_once():
    """Git merges that file by union, which may repeat both."""
    for version in re.split(r"^## ", (ROOT / "CHANGELOG.md").read_text(), flags=re.M):
        lines = [x for x in version.splitlines() if x.startswith(("### ", "- "))]
        assert len(lines) == len(set(lines))
