"""Damaged kernels are compiled again, and a folder that MLX cannot use is replaced."""

import os
import shutil
import stat
import tempfile
from pathlib import Path

import mlx.core as mx
import pytest

from lucid_fn.cpu.runtime import kernel_cache, kernel_header
from lucid_fn.cpu.runtime.kernel_file import damage

# The name of the last kernel is longer than that of a file may be.
PROGRAM = """
import warnings
import mlx.core as mx
import lucid_fn as lf

def long(x):
    for factor in range(10):
        x = mx.sigmoid(x) * factor
    return x

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for fn in (lambda x: x * x - x, lambda x: mx.exp(x * x) + x, long)[:3]:
        print(round(lf.jit(fn)(mx.array([2.0])).item(), 2))
print(*(f"{w.filename}: {w.message}" for w in caught))
"""
RESULTS = ["2.0", "56.6", "9.0"]
ONE_KERNEL = PROGRAM.replace("[:3]", "[:1]")
pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The kernels of the program, compiled once for all tests here."""
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def program(run, tmp_path):
    """What the program prints, and the text of its warnings."""

    def program(code: str = PROGRAM, **variables: str) -> tuple[list[str], str]:
        variables = {"TMPDIR": str(tmp_path), "LUCID_FN_PRECOMPILE": "none"} | variables
        *results, warning = run(f"{code}\nprint('.')", **variables).splitlines()[:-1]
        return results, warning

    return program


@pytest.fixture
def kernels(compiled, program, tmp_path, monkeypatch):
    """A folder with whole kernels, which have been looked at an hour ago."""
    if not list(compiled.iterdir()):
        assert program(TMPDIR=str(compiled)) == (RESULTS, "")
    shutil.copytree(compiled, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert kernel_cache.repair() == {}
    age(kernel_cache.folder() / "checked_by_lucid_fn")
    return sorted(kernel_cache.folder().glob("lib*.so"), key=lambda p: len(p.name))


def age(path: Path, seconds: float = 3600) -> None:
    """Makes a file older than it is."""
    found = path.stat()
    os.utime(path, (found.st_atime - seconds, found.st_mtime - seconds))


def cut(path: Path, size: int) -> None:
    os.truncate(path, size)


def swap(path: Path) -> None:
    """Exchanges the file with another of its folder."""
    other = next(p for p in sorted(path.parent.glob("lib*.so")) if p != path)
    path.rename(path.with_name("third"))
    other.rename(path)
    path.with_name("third").rename(other)


def overwrite(path: Path, start: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


DAMAGE = {
    "empty": (lambda path: cut(path, 0), "is empty"),
    "without its end": (
        lambda path: cut(path, path.stat().st_size - 1),
        "is cut short",
    ),
    "half of it": (lambda path: cut(path, 5000), "is cut short"),
    "a few bytes": (lambda path: cut(path, 30), "is cut short"),
    "zeros after a crash": (
        lambda path: overwrite(path, 9000, bytes(path.stat().st_size - 9000)),
        "is cut short",
    ),
    "swapped": (swap, "holds another kernel"),
    "another file": (
        lambda path: path.write_text("a text " * 3000),
        "is not a library for this machine",
    ),
    "another processor's": (
        lambda path: overwrite(path, 18, b"\xf3\x00"),  # RISC-V
        "is not a library for this machine",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
@pytest.mark.parametrize("which", [0, -1], ids=["a short name", "a clipped name"])
def test_damage_is_told_and_removed(kernels, what, which):
    spoil, reason = DAMAGE[what]
    assert [damage(path) for path in kernels] == [""] * len(kernels)
    spoil(kernels[which])
    assert damage(kernels[which]) == reason
    damaged = kernel_cache.repair()
    assert damaged[kernels[which].name] == reason
    assert len(damaged) == (2 if what == "swapped" else 1)
    assert not kernels[which].exists()
    assert kernel_cache.repair() == {}


@pytest.mark.parametrize("what", ["half of it", "swapped"])
def test_a_program_compiles_damaged_kernels_again_and_says_so_once(
    kernels, program, what
):
    DAMAGE[what][0](kernels[0])
    results, warning = program()
    assert results == RESULTS
    assert warning.startswith("<string>: lucid_fn: removed ")
    assert DAMAGE[what][1] in warning and str(kernels[0].parent) in warning
    assert program() == (RESULTS, "")


def test_the_long_kernel_has_a_clipped_name(kernels):
    """Else the tests above would not test how MLX clips it."""
    assert len(kernels[-1].name) == len("lib.so") + 229 + 1 + 16


def test_what_has_not_changed_since_the_last_look_is_not_read(kernels, monkeypatch):
    stamp = kernel_cache.folder() / "checked_by_lucid_fn"
    age(stamp, -7200)  # later than the kernels
    read = []
    monkeypatch.setattr(kernel_cache, "damage", lambda path: read.append(path) or "")
    kernel_cache.repair()
    assert read == []
    kernel_cache.repair(thorough=True)
    assert sorted(read) == sorted(kernels)
    read.clear()
    age(stamp, 3600)
    kernel_cache.repair()
    assert sorted(read) == sorted(kernels)


def test_what_a_killed_compiler_left_is_removed_after_an_hour(kernels):
    new, old = (kernels[0].with_name(f"tmp_{name}.so") for name in ("new", "old"))
    new.touch()
    old.touch()
    age(old, 4000)
    kernel_cache.repair()
    assert new.exists() and not old.exists()


def test_a_header_that_was_cut_short_is_made_again(monkeypatch, tmp_path):
    """g++ refuses to compile with one."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name in ("provide", "start_compiler"):
        monkeypatch.setattr(kernel_header, name, unavailable)
    precompile = kernel_header.precompile.__wrapped__
    header = kernel_header.target()
    header.parent.mkdir(parents=True)
    header.write_bytes(bytes(1000))
    made_of(header, kernel_header.include_folder() / kernel_header.PREAMBLE)
    precompile()
    assert header.exists()
    age(header.with_name(f"{header.name}.made"), 1)
    cut(header, 500)
    precompile()
    assert not header.exists()


def test_a_header_made_of_another_is_made_again(monkeypatch, kernels):
    """g++ takes it, and kernels are slow for ever."""
    for name in ("provide", "start_compiler"):
        monkeypatch.setattr(kernel_header, name, unavailable)
    precompiled = kernel_header.target()
    precompiled.parent.mkdir(parents=True, exist_ok=True)
    precompiled.write_bytes(bytes(1000))
    made_of(precompiled, kernel_header.include_folder() / kernel_header.PREAMBLE)
    kernel_header.header().write_text("// ours")
    kernel_header.precompile.__wrapped__()
    assert not precompiled.exists()
    assert not any(kernel.exists() for kernel in kernels)


def made_of(precompiled: Path, source: Path) -> None:
    shutil.copy(source, precompiled.with_name(f"{precompiled.name}.made"))


def unavailable():
    raise kernel_header.Unavailable


def foreign(folder: Path) -> None:
    os.chown(folder, 4321, -1)


def a_file(folder: Path) -> None:
    folder.rmdir()
    folder.touch()


UNUSABLE = {
    "another user's": (foreign, "belongs to another user"),
    "a file": (a_file, "is not a folder"),
}


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("what", UNUSABLE)
def test_a_folder_that_cannot_be_used_is_told(tmp_path, monkeypatch, what, depth):
    spoil, reason = UNUSABLE[what]
    if spoil is foreign and os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    spoiled = (kernel_cache.folder(), *kernel_cache.folder().parents)[depth]
    spoiled.mkdir(parents=True)
    assert kernel_cache.obstacle() == ""
    spoil(spoiled)
    assert kernel_cache.obstacle() == f"{spoiled} {reason}"


def test_it_is_replaced_by_one_of_the_users_own(tmp_path, program):
    (tmp_path / "mlx").touch()
    assert program(ONE_KERNEL) == (RESULTS[:1], "")
    own = tmp_path / f"lucid_fn-{os.getuid()}"
    assert list(own.rglob("lib*.so"))
    assert stat.S_IMODE(own.stat().st_mode) == 0o700


@pytest.mark.skipif(os.getuid() == 0, reason="root writes to every folder")
def test_a_folder_that_is_read_only_cannot_be_used(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    kernel_cache.folder().mkdir(parents=True, mode=0o500)
    assert kernel_cache.obstacle() == f"{kernel_cache.folder()} cannot be written to"


def test_kernels_cannot_be_loaded_from_a_folder_that_is_mounted_noexec(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    found = os.statvfs(tmp_path)
    flags = os.statvfs_result((*found[:8], found.f_flag | os.ST_NOEXEC, *found[9:]))
    monkeypatch.setattr(os, "statvfs", lambda path: flags)
    assert kernel_cache.obstacle() == f"{tmp_path} is mounted noexec"


@pytest.fixture
def own(tmp_path, monkeypatch):
    """What takes the place of a folder that is missing, and not in the real /tmp.

    Tests in other processes make and remove that one at the same time.
    """
    replaced = lambda path: Path(tmp_path if path == "/tmp" else path)  # noqa: E731
    monkeypatch.setattr(kernel_cache, "Path", replaced)
    return tmp_path / f"lucid_fn-{os.getuid()}"


def test_a_program_goes_on_where_the_temporary_folder_is_missing(
    program, own, tmp_path
):
    before = f"""
from lucid_fn.cpu.runtime import kernel_cache
Path = kernel_cache.Path
kernel_cache.Path = lambda path: Path({str(tmp_path)!r} if path == "/tmp" else path)
"""
    assert program(before + ONE_KERNEL, TMPDIR="/missing/folder") == (RESULTS[:1], "")
    assert not Path("/missing").exists() and list(own.rglob("lib*.so"))


@pytest.mark.parametrize("name", ["", "/dev/null", "/missing/folder"])
def test_a_missing_temporary_folder_is_replaced(name, own, monkeypatch):
    monkeypatch.setenv("TMPDIR", name)
    kernel_cache.prepare.__wrapped__()
    assert os.environ["TMPDIR"] == str(own)
    assert kernel_cache.obstacle() == ""


def test_a_folder_that_someone_else_put_there_is_not_used(tmp_path, monkeypatch):
    """Whoever can write to it could put programs there."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(kernel_cache, "Path", lambda path: tmp_path / "none" / path[1:])
    own = tmp_path / f"lucid_fn-{os.getuid()}"
    own.mkdir()
    own.chmod(0o777)
    assert not kernel_cache._use_private_folder()
    own.rmdir()
    (tmp_path / "elsewhere").mkdir()
    own.symlink_to(tmp_path / "elsewhere")
    assert not kernel_cache._use_private_folder()
    assert os.environ["TMPDIR"] == str(tmp_path)


def test_without_any_folder_functions_run_unfused_with_one_warning(program):
    before = (
        "from lucid_fn.cpu.runtime import kernel_cache as c; "
        "c._use_private_folder = lambda: False\n"
    )
    results, warning = program(before + ONE_KERNEL, TMPDIR="/dev/null")
    assert results == RESULTS[:1]
    assert "unfused" in warning and "set TMPDIR to a folder of your own" in warning


def test_pythons_temporary_files_stay_where_they_were(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert kernel_cache._use_private_folder()
    assert tempfile.gettempdir() == str(tmp_path) != os.environ["TMPDIR"]


@pytest.mark.parametrize("where", ["on a GPU", "where MLX does not compile"])
def test_nothing_is_looked_at(monkeypatch, where):
    monkeypatch.setenv("TMPDIR", "/dev/null")
    if where == "on a GPU":
        monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    else:
        monkeypatch.setenv("MLX_DISABLE_COMPILE", "1")
    kernel_cache.prepare.__wrapped__()
    assert os.environ["TMPDIR"] == "/dev/null"
