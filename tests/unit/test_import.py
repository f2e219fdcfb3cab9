"""`import lucid_fn` loads what it needs, and nothing else."""

import importlib
import inspect
import os
import subprocess
import sys

import pytest

import lucid_fn

NOT_LOADED = [
    *("jax", "chex", "matplotlib", "scipy", "torch", "optax", "tqdm", "pandas"),
    *("mlx.nn", "mlx.optimizers", "onnx"),
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
    with pytest.raises(AttributeError, match="lf has no attribute 'layers'"):
        lucid_fn.layers  # noqa: B018  # the access is the test


# What takes time at an import: modules, processes, files that are read.
# Signatures need `inspect`, which the newer versions of NumPy import by themselves.
IMPORT = """
import inspect
import sys
import mlx.core
import numpy

before, events = set(sys.modules), []
sys.addaudithook(lambda event, args: events.append((event, args)))
import lucid_fn
print(*sys.modules.keys() - before)
print(*{event for event, _ in events})
print(*(str(args[0]) for event, args in events if event == "open"))
"""
LATER = {"argparse", "asyncio", "json", "shutil", "subprocess", "tempfile"}


@pytest.fixture(scope="module")
def imported():
    """The modules that the import adds to MLX's and NumPy's, its events, its files."""
    run = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return [set(line.split()) for line in run.stdout.splitlines()]


def test_subpackages_are_imported_when_they_are_used(imported):
    assert "lucid_fn.transforms" in imported[0]
    eager = {"ops", "random", "transforms", "tree", "types"}
    waiting = {f"lucid_fn.{name}" for name in {*lucid_fn.__all__, "doctor"} - eager}
    assert not imported[0] & waiting


def test_the_import_loads_few_modules(imported):
    assert not imported[0] & LATER
    ours = {name for name in imported[0] if name.partition(".")[0] == "lucid_fn"}
    assert len(ours) < 100 and len(imported[0] - ours) < 30


def test_the_import_starts_no_process_and_asks_no_other_machine(imported):
    starts = {"subprocess.Popen", "os.system", "os.fork", "os.exec", "os.posix_spawn"}
    assert not imported[1] & {*starts, "socket.connect", "socket.getaddrinfo"}


def test_the_import_reads_only_its_modules_and_what_the_system_says(imported):
    system = ("/proc/", "/sys/")
    other = {path for path in imported[2] if not path.startswith(system)}
    assert {os.path.splitext(path)[1] for path in other} <= {".py", ".pyc", ".so"}


def test_nothing_is_printed_and_nothing_warns():
    command = [sys.executable, "-W", "error", "-c", "import lucid_fn"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
