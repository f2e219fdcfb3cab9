"""What the doctor finds in healthy and in sick processes, and how it says so."""

import json
import os
import stat
import subprocess
import sys

import mlx.core as mx
import pytest

from lucid_fn import doctor
from lucid_fn.__main__ import main
from lucid_fn.cpu import runtime
from lucid_fn.cpu.runtime import kernel_cache
from lucid_fn.doctor import comparisons, machine, report, timings
from lucid_fn.doctor.check import Check
from lucid_fn.ops import seam
from lucid_fn.transforms import compilation

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="for Linux alone")


@pytest.fixture
def status(monkeypatch):
    """Makes the runtime report another status."""

    def status(**fields):
        found = runtime.Status(**fields)
        monkeypatch.setattr(runtime, "start", lambda: found)

    return status


@pytest.fixture
def healthy(monkeypatch):
    """An environment without a variable that slows the process down."""
    for name in (*machine.SLOWING, *machine.THREAD_VARIABLES, "MLX_DISABLE_COMPILE"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def gxx(tmp_path, healthy):
    """Puts a `g++` that runs these shell lines first in the path."""

    def gxx(*lines):
        script = tmp_path / "g++"
        script.write_text("\n".join(["#!/bin/sh", *lines]))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        healthy.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return gxx


@linux_only
def test_the_device_line_counts_the_cores():
    check = machine.device()
    assert check.verdict == "ok"
    assert check.numbers == {"cores": runtime.physical_cores()}


@pytest.mark.parametrize(("busy", "verdict"), [(0.0, "ok"), (1e4, "slow")])
def test_a_busy_machine_is_reported(monkeypatch, busy, verdict):
    monkeypatch.setattr(os, "getloadavg", lambda: (busy, busy, busy))
    check = machine.load()
    assert check.verdict == verdict
    assert bool(check.advice) == (verdict == "slow")


def test_what_is_lost_where_mlx_cannot_compile_without_merging(monkeypatch):
    assert machine.merging().verdict == "ok"
    monkeypatch.setattr(compilation, "goes_without_merging", lambda: False)
    check = machine.merging()
    assert check.verdict == "broken" and "MLX" in check.found
    assert "derivatives of derivatives" in check.found and "slices" in check.advice


@linux_only
def test_the_blas_line_names_version_and_file():
    check = machine.blas()
    assert check.verdict == "ok"
    assert check.found.startswith("OpenBLAS 0.") and "libscipy_openblas" in check.found


@linux_only
@pytest.mark.parametrize(
    ("look", "variable"),
    [(machine.blas, "LUCID_FN_BLAS"), (machine.allocator, "LUCID_FN_MALLOC")],
)
def test_what_was_switched_off_is_slow_and_can_be_switched_on(status, look, variable):
    status(notes=(f"{variable}=none",))
    assert look().verdict == "slow"
    assert look().advice == f"unset {variable}"


@linux_only
def test_what_could_not_be_done_is_said_with_its_remedy(status):
    status(problems=("MLX keeps its slow BLAS: pip install scipy", "the allocator: no"))
    assert machine.blas().advice == "MLX keeps its slow BLAS: pip install scipy"
    assert machine.allocator().advice == "the allocator: no"


def test_without_a_compiler_the_advice_is_to_install_one(healthy, tmp_path):
    healthy.setenv("PATH", str(tmp_path))
    check = machine.compiler()
    assert check.verdict == "slow"
    assert "no g++" in check.found and "install g++" in check.advice


def test_a_compiler_that_cannot_compile_mlxs_kernels_is_broken(gxx):
    gxx('[ "$1" = --version ] && echo g++ 1.0 && exit', "echo no headers >&2", "exit 1")
    check = machine.compiler()
    assert check.verdict == "broken"
    assert check.found == "g++ cannot compile MLX's kernels: no headers"


def test_a_compiler_that_works_is_named_with_its_version(gxx):
    gxx("echo g++ 1.0")
    check = machine.compiler()
    assert check.verdict == "ok"
    assert check.found == "g++ 1.0"


def test_disabled_compilation_is_slow(healthy):
    healthy.setenv("MLX_DISABLE_COMPILE", "1")
    assert machine.compiler().verdict == "slow"
    assert machine.compiler().advice == "unset MLX_DISABLE_COMPILE"


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    """A folder for MLX's kernels that is empty."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    kernel_cache.folder().mkdir(parents=True)
    return kernel_cache.folder()


@linux_only
def test_kernels_are_counted(kernels):
    check = machine.kernels()
    assert check.verdict == "ok"
    assert check.found == f"0 kernels in {kernels}"


@linux_only
def test_damaged_kernels_are_named_and_removed(kernels):
    (kernels / "libA.so").touch()
    check = machine.kernels()
    assert check.verdict == "slow" and check.numbers == {"damaged": 1}
    assert check.found == f"removed 1 damaged kernel from {kernels} (libA.so is empty)"
    assert machine.kernels().verdict == "ok"


@linux_only
def test_it_is_said_where_kernels_are_kept_instead_and_why(kernels, monkeypatch):
    kernels.rmdir()
    kernels.touch()
    monkeypatch.setattr(kernel_cache, "prepare", kernel_cache.prepare.__wrapped__)
    check = machine.kernels()
    assert check.verdict == "ok"
    assert check.found == (
        f"0 kernels in {kernel_cache.folder()}, since {kernels} is not a folder"
    )
    assert kernel_cache.folder() != kernels


@linux_only
def test_without_a_folder_for_kernels_the_advice_is_to_name_one(kernels, monkeypatch):
    kernels.rmdir()
    kernels.touch()
    monkeypatch.setattr(kernel_cache, "prepare", lambda: None)
    check = machine.kernels()
    assert check.verdict == "slow" and "is not a folder" in check.found
    assert check.advice == "set TMPDIR to a folder of your own"


def test_an_environment_without_such_variables_is_ok(healthy):
    assert machine.environment() == Check(
        "environment", "ok", "no variable slows this process down"
    )


@linux_only
@pytest.mark.parametrize("name", [*machine.SLOWING, *machine.THREAD_VARIABLES])
def test_a_variable_that_slows_down_is_named_with_its_remedy(healthy, name):
    healthy.setattr(runtime, "physical_cores", lambda: 4)
    healthy.setenv(name, "1")
    check = machine.environment()
    assert check.verdict == "slow"
    assert check.found == f"{name}=1"
    assert check.advice.startswith(f"unset {name}: ")


@linux_only
def test_one_thread_is_no_fault_on_one_core(healthy):
    healthy.setattr(runtime, "physical_cores", lambda: 1)
    healthy.setenv("OMP_NUM_THREADS", "1")
    assert machine.environment().verdict == "ok"


@pytest.mark.parametrize("look", [timings.matmul, timings.conv2d, timings.elementwise])
def test_a_timing_has_a_time_and_a_rate(look):
    check = look()
    assert check.verdict != "broken"
    assert len(check.numbers) == 2 and min(check.numbers.values()) > 0
    assert f"{check.numbers['milliseconds']:.1f} ms" in check.found


@pytest.mark.parametrize("look", [timings.matmul, timings.conv2d, timings.elementwise])
def test_a_low_rate_on_a_cpu_is_slow_and_comes_with_advice(monkeypatch, look):
    monkeypatch.setattr(timings, "best_seconds", lambda compute: 100.0)
    assert look().verdict == "slow"
    assert look().advice.startswith("see ")


def test_a_wrong_convolution_is_broken(monkeypatch):
    results = iter([mx.ones((2,)), mx.full((2,), float("nan"))])
    monkeypatch.setattr(timings.ops, "conv2d", lambda *args, **kwargs: next(results))
    check = timings.conv2d()
    assert check.verdict == "broken"
    assert "LUCID_FN_OPS=plain" in check.advice


def test_an_error_in_a_look_is_a_finding(monkeypatch):
    def elementwise():
        raise RuntimeError("[Compile::eval_cpu] failed")

    monkeypatch.setattr(report, "CHECKS", (elementwise,))
    (check,) = doctor.examine()
    assert check.verdict == "broken" and check.name == "elementwise"
    assert check.found == "RuntimeError: [Compile::eval_cpu] failed"


CHECKS = [
    Check("device", "ok", "CPU: a model, 2 cores for this process"),
    Check("BLAS", "slow", "word " * 40, "advice " * 40, {"slots": 3}),
    Check("conv2d", "broken", "differs from MLX's own", "report this"),
]


def test_the_text_fits_a_terminal_and_ends_with_what_to_look_at():
    lines = doctor.as_text(CHECKS).splitlines()
    assert max(map(len, lines)) <= 88
    assert lines[0].startswith("lucid_fn ")
    assert lines[2] == "ok      device       CPU: a model, 2 cores for this process"
    assert lines[-1] == "broken: conv2d; slow: BLAS"


def test_the_text_of_a_healthy_machine_ends_well():
    assert doctor.as_text(CHECKS[:1]).endswith("\n\nAll is well.")


def test_the_json_has_the_fields_of_the_checks():
    read = json.loads(doctor.as_json(CHECKS))
    assert [Check(**fields) for fields in read["checks"]] == CHECKS
    assert set(read["versions"]) > {"lucid_fn", "mlx", "python"}


@pytest.mark.parametrize(("checks", "code"), [(CHECKS[:2], 0), (CHECKS, 1)])
def test_the_exit_code_is_1_only_if_something_is_broken(monkeypatch, checks, code):
    monkeypatch.setattr(doctor, "examine", lambda: checks)
    assert main(["doctor"]) == code


def test_without_a_command_the_usage_is_shown(capsys):
    assert main([]) == 2
    assert "say what makes this machine fast or slow" in capsys.readouterr().out


def test_the_command_prints_json():
    command = [sys.executable, "-m", "lucid_fn", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    names = [check["name"] for check in json.loads(done.stdout)["checks"]]
    assert names[:3] == ["device", "load", "BLAS"] and len(names) == 11


@pytest.mark.usefixtures("unfused")
def test_the_selftest_passes_here():
    check = doctor.selftest()
    assert check.verdict == "ok", check.found
    assert check.numbers["computations"] > 50


def test_the_selftest_names_what_is_wrong(monkeypatch):
    def fails(x):
        raise NotImplementedError("no such kernel")

    def wrong(x):
        return x * (1.1 if seam.tuned() else 1.0)

    computations = [
        comparisons.Computation("right", lambda x: x, (mx.ones(3),)),
        comparisons.Computation("wrong", wrong, (mx.ones(3),)),
        comparisons.Computation("nan", lambda x: x * float("nan"), (mx.ones(3),)),
        comparisons.Computation("fails", fails, (mx.ones(3),)),
    ]
    monkeypatch.setattr(comparisons, "_computations", lambda: computations)
    check = doctor.selftest()
    assert check.verdict == "broken"
    assert check.found.startswith("3 computations of 4: wrong is 1.0e-01 off; nan is")
    assert "fails fails (NotImplementedError: no such kernel)" in check.found
