"""What the library may import, as far as import-linter cannot say it."""

import ast
from pathlib import Path

import pytest

import lucid_fn

SOURCES = sorted(Path(lucid_fn.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.name)
def test_the_stateful_modules_of_mlx_are_not_imported(source):
    imported = set()
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
            imported.add(node.module)
    assert not imported & {"mlx.nn", "mlx.optimizers", "mlx.utils"}
