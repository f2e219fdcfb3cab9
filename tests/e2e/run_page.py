"""Runs the Python blocks of a page as one program: `python run_page.py PAGE`."""

import re
import sys
from pathlib import Path

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[str]:
    """The Python blocks of a page in Markdown; doctests run as such."""
    return [block for block in BLOCK.findall(page.read_text()) if ">>>" not in block]


def run(page: Path) -> None:
    """Runs all blocks with the same names."""
    program: dict = {"__name__": "page"}
    for block in blocks(page):
        exec(compile(block, str(page), "exec"), program)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
