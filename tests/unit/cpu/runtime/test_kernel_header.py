"""MLX's kernels are compiled with a precompiled header, wherever one can be made."""

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


def test_it_is_made_once(gxx):
    gxx("exit 1")
    kernel_header.target().parent.mkdir(parents=True)
    kernel_header.target().touch()
    with pytest.raises(Unavailable, match="there already"):
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
