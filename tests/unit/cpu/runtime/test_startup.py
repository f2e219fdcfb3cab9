"""What starting does, once a process, and what it says where it cannot."""

import ast
import os
from pathlib import Path

import mlx.core as mx
import pytest

from lucid_fn.cpu import runtime
from lucid_fn.cpu.runtime import startup

STATUS = """
{before}
import lucid_fn
print(dict(lucid_fn.cpu.runtime.start()._asdict()))
"""
# What takes time: modules, libraries, files that are read.
ALONE = """
import os, sys, types
import mlx.core
package = types.ModuleType("lucid_fn")  # the runtime alone, without the rest
package.__path__ = [{path!r}]
sys.modules["lucid_fn"] = package
before, libraries, files = set(sys.modules), [], []
def watch(event, args):
    if event == "ctypes.dlopen" and args[0]:
        libraries.append(os.path.basename(args[0]))
    if event == "open" and str(args[0]).startswith(("/proc/", "/sys/")):
        files.append(args[0])
sys.addaudithook(watch)
from lucid_fn.cpu import runtime
from lucid_fn.cpu.runtime import startup
runtime.start()
print(len(sys.modules.keys() - before), len(files), *set(libraries))
"""


@pytest.fixture
def status(run):
    """The status that a fresh process reports, as a dict."""

    def status(before: str = "", *options: str, **variables: str) -> dict:
        code = STATUS.format(before=before)
        return ast.literal_eval(run(code, *options, **variables))

    return status


@pytest.fixture
def warning(run):
    """The one warning of a fresh process, and the code that it points at."""

    def warning(before: str = "", **variables: str) -> str:
        code = f"""
import warnings
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    {before or "pass"}
    import lucid_fn
(caught,) = caught
assert caught.category is RuntimeWarning, caught
assert caught.filename == "<string>", caught.filename
print(caught.message)
import mlx.core as mx
assert (mx.ones((3, 4)) @ mx.ones((4, 2))).tolist() == [[4, 4]] * 3
"""
        return run(code, **variables)

    return warning


def test_mlx_gets_scipys_openblas_and_a_tuned_allocator_without_a_warning(status):
    found = status()
    assert "libscipy_openblas" in found["blas"]
    assert found["slots"] >= 3 and found["allocator"]
    assert found["notes"] == found["problems"] == ()


@pytest.mark.parametrize(
    "before",
    [
        "import mlx.core",
        "import mlx.core as mx; a = mx.ones((300, 300)); mx.eval(a @ a)",
        "import scipy.linalg",
    ],
)
def test_it_does_not_matter_what_was_imported_or_computed_before(status, before):
    assert status(before)["slots"] == runtime.start().slots


def test_scipy_stays_unloaded(run):
    code = "import lucid_fn, sys; print('scipy' in sys.modules)"
    assert run(code) == "False"


def test_mlx_computes_nothing_at_import(run):
    """Its threads would not survive a fork after it."""
    threads = "len(__import__('os').listdir('/proc/self/task'))"
    code = f"import lucid_fn, ctypes; print({threads})"
    assert run(code, OPENBLAS_NUM_THREADS="1") == "1"


def test_the_runtime_loads_little_and_one_library_beside_mlxs(run):
    package = str(Path(runtime.__file__).parents[2])
    modules, files, *libraries = run(ALONE.format(path=package)).split()
    assert int(modules) < 60
    assert int(files) < 10 + 2 * os.cpu_count()
    assert {name.partition("-")[0].partition(".")[0] for name in libraries} == {
        "core",
        "libscipy_openblas",
    }


def test_the_status_is_the_same_at_each_call():
    assert runtime.start() is runtime.start()


def test_each_part_can_be_switched_off(status):
    parts = ("LUCID_FN_BLAS", "LUCID_FN_MALLOC", "LUCID_FN_SCHEDULING")
    found = status(**dict.fromkeys(parts, "none"))
    assert found["blas"] is None
    assert found["slots"] == 0 and not found["allocator"] and not found["scheduling"]
    assert found["notes"] == tuple(f"{part}=none" for part in parts)


def test_a_path_names_another_blas(status):
    path = runtime.blas.scipy_openblas()  # the only one that is surely there
    assert status(LUCID_FN_BLAS=path)["blas"] == path


def test_nothing_is_done_where_mlx_computes_on_a_gpu(monkeypatch):
    monkeypatch.setattr(startup.mx, "default_device", lambda: mx.Device(mx.gpu))
    nothing = runtime.Status(notes=("nothing to do on a GPU",))
    assert startup.start.__wrapped__() == nothing


def test_nothing_is_done_on_macos(monkeypatch):
    monkeypatch.setattr(startup.sys, "platform", "darwin")
    nothing = runtime.Status(notes=("nothing to do on darwin",))
    assert startup.start.__wrapped__() == nothing


def test_without_scipy_one_warning_says_what_it_costs_and_what_to_do(warning):
    hide = "import sys; sys.modules['scipy'] = None"
    text = warning(hide + "; import importlib.util as u; u.find_spec = lambda n: None")
    assert "SciPy, whose OpenBLAS would be used, is not installed" in text
    assert "tens of times as long" in text and "pip install --upgrade scipy" in text


def test_a_wrong_path_is_one_warning_that_says_to_unset_it(warning):
    text = warning(LUCID_FN_BLAS="/absent.so")
    assert "it cannot be loaded: /absent.so" in text
    assert "unset LUCID_FN_BLAS" in text


def test_two_problems_are_one_warning(warning):
    hide = "import ctypes; from unittest import mock; real = ctypes.CDLL; "
    hide += (
        "ctypes.CDLL = lambda *a, **k: real(*a, **k) if a[0] else mock.Mock(spec=[])"
    )
    text = warning(hide, LUCID_FN_BLAS="/absent.so")
    assert "MLX keeps its slow BLAS" in text
    assert "the allocator stays as it is (the C library is not glibc" in text


def test_a_blas_starts_with_a_thread_for_each_core(run):
    code = (
        "from lucid_fn.cpu import runtime as r; "
        "print(r.blas_threads(), r.physical_cores())"
    )
    threads, cores = run(code, **unset("OMP", "OPENBLAS", "GOTO")).split()
    assert threads == cores


def unset(*names: str) -> dict[str, str]:
    return {f"{name}_NUM_THREADS": "" for name in names}


def test_the_users_number_of_threads_is_respected(run):
    code = (
        "from lucid_fn.cpu import runtime as r; "
        "print(r.blas_threads(), r.set_blas_threads(2))"
    )
    assert run(code, OMP_NUM_THREADS="1") == "1 1"


def test_the_threads_of_a_product_can_be_set(run):
    code = (
        "from lucid_fn.cpu import runtime as r; "
        "print(r.set_blas_threads(1), r.blas_threads())"
    )
    assert run(code, **unset("OMP", "OPENBLAS", "GOTO")) == "1 1"


def test_threads_are_unknown_where_mlx_has_its_own_blas(run):
    code = (
        "from lucid_fn.cpu import runtime as r; "
        "print(r.set_blas_threads(2), r.blas_threads())"
    )
    assert run(code, LUCID_FN_BLAS="none") == "0 0"


PACKS = "from lucid_fn.cpu import runtime; print(runtime.packs_small_products())"


@pytest.mark.parametrize(
    "variables", [{"OPENBLAS_CORETYPE": "Haswell"}, {"LUCID_FN_BLAS": "none"}]
)
def test_small_products_are_packed_but_by_kernels_for_avx_512(run, variables):
    assert run(PACKS, **variables) == "True"


@pytest.mark.parametrize("kernels", ["SkylakeX", "Cooperlake", "SapphireRapids"])
def test_kernels_for_avx_512_leave_small_products_unpacked(kernels, monkeypatch):
    monkeypatch.setattr(startup.blas, "kernels", lambda library: kernels)
    assert not startup.packs_small_products.__wrapped__()


def test_less_than_one_thread_is_refused():
    with pytest.raises(
        ValueError, match="set_blas_threads: number must be at least 1, got 0"
    ):
        runtime.set_blas_threads(0)


@pytest.mark.parametrize(
    ("before", "after"), [({}, "1000"), ({"MLX_BFS_MAX_WIDTH": "7"}, "7")]
)
def test_mlx_evaluates_breadth_first_unless_told_otherwise(run, before, after):
    code = "import os, lucid_fn; print(os.environ['MLX_BFS_MAX_WIDTH'])"
    assert run(code, **before) == after
