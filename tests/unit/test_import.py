"""`import lucid_fn` loads what it needs, and is fast."""

import importlib
import inspect
import os
import subprocess
import sys

import pytest

import lucid_fn

NOT_LOADED = [
    *("jax", "chex", "matplotlib", "scipy", "torch", "optax", "tqdm", "pandas"),
    *("mlx.nn", "mlx.optimizers"),
]


@pytest.fixture(scope="module")
def loaded():
    """Modules in a process that has used every public subpackage."""
    code = (
        "import sys, lucid_fn; [getattr(lucid_fn, name) for name in dir(lucid_fn)]; "
        "print(*sorted(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


@pytest.mark.parametrize("name", NOT_LOADED)
def test_a_heavy_package_is_not_loaded(loaded, name):
    assert name not in loaded


def test_the_public_subpackages_are_attributes(loaded):
    public = "data interop losses metrics models nn ops optim plot random schedules"
    names = [*public.split(), "train", "tree"]
    assert {f"lucid_fn.{name}" for name in names} <= loaded


@pytest.mark.parametrize("package", ["random", "tree", "transforms"])
def test_dir_shows_names_and_no_modules(package):
    module = importlib.import_module(f"lucid_fn.{package}")
    assert dir(module) == sorted(module.__all__)
    assert not any(inspect.ismodule(getattr(module, name)) for name in dir(module))


@pytest.mark.parametrize("name", ["doctor", "testing", "types"])
def test_a_subpackage_needs_no_import_of_its_own(name):
    code = f"import lucid_fn as lf; print(lf.{name}.__name__)"
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.stdout.strip() == f"lucid_fn.{name}"


def test_an_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'lucid_fn' has no attribute 'layers'"):
        lucid_fn.layers  # noqa: B018  # the access is the test


def test_the_import_is_fast(tmp_path):
    code = (
        "import time; start = time.process_time(); import lucid_fn; "
        "print(time.process_time() - start)"
    )
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", code]

    def seconds() -> float:
        run = subprocess.run(command, capture_output=True, check=True, env=environment)
        return float(run.stdout)

    # MLX and NumPy included, a third of it each. What it costs is the least of several
    # runs, the first of which compiles to bytecode; a busy machine needs more of them.
    assert any(seconds() < 0.2 for _ in range(20))


def test_nothing_is_printed_and_nothing_warns():
    command = [sys.executable, "-W", "error", "-c", "import lucid_fn"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
