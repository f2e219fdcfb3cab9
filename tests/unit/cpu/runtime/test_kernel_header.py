"""MLX's kernels get a header of ours, precompiled, wherever that can be made."""

import os
import shutil
from pathlib import Path

import mlx.core as mx
import pytest

from lucid_fn.cpu.runtime import kernel_cache, kernel_header
from lucid_fn.cpu.runtime.errors import Unavailable

JIT = "import lucid_fn as lf; print(lf.jit(lambda x: x * x + x)(3.0))"
# A second kernel, after the header is there.
TWO = f"""
from lucid_fn.cpu.runtime import kernel_header
start, started = kernel_header.start_compiler, []
kernel_header.start_compiler = lambda: started.append(start()) or started[0]
{JIT}
started[0].wait()
print(lf.jit(lambda x: x * x - x)(3.0))
"""
GXX = shutil.which("g++")
needs_gxx = pytest.mark.skipif(GXX is None, reason="needs g++")


@pytest.fixture
def gxx(tmp_path, monkeypatch):
    """Puts a `g++` that is a shell script into an otherwise empty folder of kernels."""

    def gxx(script: str) -> None:
        path = tmp_path / "bin" / "g++"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return gxx


def finish() -> list[str]:
    """Waits for the compiler; what it left in the folder of the header."""
    kernel_header.start_compiler().wait()
    return os.listdir(kernel_header.target().parent)


@needs_gxx
def test_the_second_kernel_is_compiled_with_the_precompiled_header(run, gxx, tmp_path):
    """With `-H` g++ prints each header it reads: `!` marks a precompiled one."""
    gxx(f'{GXX} -H "$@" 2>> {tmp_path}/headers')
    output = run(TWO, TMPDIR=str(tmp_path), PATH=os.environ["PATH"])
    assert output == "array(12, dtype=float32)\narray(6, dtype=float32)"
    lines = (tmp_path / "headers").read_text().splitlines()
    assert f"! {kernel_header.target()}" in lines


@needs_gxx
def test_the_header_is_there_whole_or_not_at_all(gxx):
    gxx('for out; do :; done; echo half > "$out"; [ -e "$TMPDIR/works" ]')
    assert finish() == []
    Path(os.environ["TMPDIR"], "works").touch()
    name = kernel_header.target().name
    assert sorted(finish()) == [name, f"{name}.made"]


def test_the_precompiled_header_is_made_once(gxx):
    gxx("exit 1")
    kernel_header.target().parent.mkdir(parents=True)
    kernel_header.target().touch()
    with pytest.raises(Unavailable, match="exists already"):
        kernel_header.start_compiler()


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("LUCID_FN_PRECOMPILE", "none", "LUCID_FN_PRECOMPILE=none"),
        ("PATH", "/nowhere", "no g\\+\\+ in PATH"),
        ("TMPDIR", "/dev/null", "Not a directory"),
        ("MLX_DISABLE_COMPILE", "1", "MLX_DISABLE_COMPILE"),
    ],
)
def test_where_it_cannot_be_made_kernels_are_compiled_as_before(
    monkeypatch, gxx, variable, value, reason
):
    gxx("exit 1")
    monkeypatch.setenv(variable, value)
    with pytest.raises(Unavailable, match=reason):
        kernel_header.start_compiler()
    kernel_header.precompile.__wrapped__()  # says nothing


def test_nothing_is_compiled_where_mlx_has_no_headers_or_a_gpu(monkeypatch, gxx):
    gxx("exit 1")
    with monkeypatch.context() as patch:
        patch.setattr(kernel_header, "PREAMBLE", "mlx/none.h")
        with pytest.raises(Unavailable, match="without its headers"):
            kernel_header.start_compiler()
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    with pytest.raises(Unavailable, match="not on a Linux CPU"):
        kernel_header.start_compiler()


@needs_gxx
def test_a_process_does_not_wait_for_it(run, gxx, tmp_path):
    """Neither the call nor the end of the process."""
    # The compiler of the header waits for a file that is there after the process.
    wait = f"until [ -e {tmp_path}/ended ]; do sleep 0.1; done; touch {tmp_path}/made"
    gxx(f'case "$*" in *c++-header*) {wait};; *) {GXX} "$@";; esac')
    run(JIT, TMPDIR=str(tmp_path), PATH=os.environ["PATH"])
    assert not (tmp_path / "made").exists()
    (tmp_path / "ended").touch()  # ends the compiler


def test_the_folder_is_that_of_mlx(monkeypatch):
    for name in ("TMPDIR", "TMP", "TEMP", "TEMPDIR"):
        monkeypatch.delenv(name, raising=False)
    assert kernel_cache.folder() == Path(f"/tmp/mlx/{mx.__version__}/cpu")
    monkeypatch.setenv("TEMP", "/b")
    assert kernel_cache.folder() == Path(f"/b/mlx/{mx.__version__}/cpu")
    monkeypatch.setenv("TMP", "/a")
    assert kernel_cache.folder() == Path(f"/a/mlx/{mx.__version__}/cpu")


# ---- what the header does to kernels ----

ADAM = """
import mlx.core as mx, lucid_fn as lf
from lucid_fn.cpu.runtime import kernel_header
{setup}
@lf.jit
def update(p, g, m, v):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * (g * g)
    step = mx.where(g > 0, m, -m) / (mx.maximum(mx.sqrt(v), mx.rsqrt(v)) + 1e-8)
    return p - 0.001 * step, m, v
arrays = mx.random.normal((4, 999), key=mx.random.key(0))
for result in update(*(arrays * arrays)):
    print(bytes(mx.view(result, mx.uint8)).hex())
"""
CLAMP = """
import mlx.core as mx, lucid_fn as lf
from lucid_fn.cpu.recurrent.run import _fused_tanh
from lucid_fn.cpu.runtime import kernel_header
{setup}
special = mx.array([mx.nan, mx.inf, -mx.inf, 0.0, -0.0, 1e-40, 7.957, -8.0])
x = mx.concatenate([special, 5 * mx.random.normal((4096,), key=mx.random.key(0))])
y = lf.jit(_fused_tanh)(x)
print(bytes(mx.view(y, mx.uint8)).hex())
"""
kernels = pytest.mark.parametrize("kernel", [ADAM, CLAMP], ids=["Adam", "clamp"])
avx2 = pytest.mark.skipif(not kernel_header._has_avx2(), reason="needs AVX2")


@needs_gxx
@avx2
@kernels
def test_a_kernel_uses_vectors_of_32_bytes(run, gxx, tmp_path, kernel):
    gxx(f'{GXX} -fopt-info-vec "$@" 2> {tmp_path}/report')
    variables = {"TMPDIR": str(tmp_path), "LUCID_FN_PRECOMPILE": "none"}
    run(kernel.format(setup=""), PATH=os.environ["PATH"], **variables)
    assert "vectorized using 32 byte vectors" in (tmp_path / "report").read_text()


@needs_gxx
@avx2
@kernels
def test_a_kernel_computes_the_same_bits_without_the_header(run, tmp_path, kernel):
    without = "kernel_header.provide = lambda: None"
    results = []
    for setup in ("", without):
        folder = tmp_path / str(len(setup))
        folder.mkdir()
        variables = {"TMPDIR": str(folder), "LUCID_FN_PRECOMPILE": "none"}
        results.append(run(kernel.format(setup=setup), **variables))
    assert results[0] == results[1] and len(results[0]) > 999 * 8


@pytest.fixture
def kernels(gxx):
    """A folder with a kernel and a precompiled header from before."""
    gxx("exit 1")
    paths = kernel_cache.folder() / "libA_f4.so", kernel_header.target()
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


@needs_gxx
def test_kernels_are_all_compiled_with_the_same_header(monkeypatch, kernels):
    monkeypatch.setattr(kernel_header, "_has_avx2", lambda: True)
    kernel_header.provide()
    assert "ivdep" in kernel_header.header().read_text()
    assert not any(path.exists() for path in kernels)
    kernels[0].touch()
    kernel_header.provide()
    assert kernels[0].exists()


@needs_gxx
def test_a_processor_without_avx2_runs_no_kernel_of_one_that_has_it(
    monkeypatch, kernels
):
    monkeypatch.setattr(kernel_header, "_has_avx2", lambda: False)
    kernel_header.provide()
    assert kernels[0].exists()  # of a folder that has no header of ours
    kernel_header.header().write_text("AVX2")
    kernel_header.provide()
    assert not kernels[0].exists() and not kernel_header.header().exists()
