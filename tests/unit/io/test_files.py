"""`atomic_write`: one whole file under every name, and errors that name it."""

import errno
import fcntl
import os
import resource
import signal
import stat
import subprocess
import sys

import pytest

from lucid_fn import io


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.bin"


def write(path, content=b"new"):
    with io.atomic_write(path, caller="test") as file:
        file.write(content)


def leftovers(path):
    return [p.name for p in path.parent.iterdir() if p.name.endswith(".partial")]


def test_the_file_holds_what_was_written(path):
    write(path)
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == [path.name]


def test_a_new_file_has_the_mode_that_open_gives(path):
    write(path)
    other = path.with_name("other")
    other.write_bytes(b"")
    assert path.stat().st_mode == other.stat().st_mode


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o444])
def test_the_mode_of_an_existing_file_is_kept(path, mode):
    path.write_bytes(b"old")
    path.chmod(mode)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.read_bytes() == b"new"


def test_nobody_else_may_read_a_private_file_while_it_is_written(path):
    path.write_bytes(b"old")
    path.chmod(0o600)
    with io.atomic_write(path, caller="test") as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600


def test_the_target_of_a_symbolic_link_is_replaced_and_the_link_kept(tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    target, link = folder / "target", tmp_path / "link"
    link.symlink_to("elsewhere/target")
    for content in (b"first", b"second"):  # a dangling link, then a whole one
        write(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content


def test_a_link_that_leads_to_itself_is_named(path):
    path.symlink_to(path)
    with pytest.raises(OSError, match=rf"^test: cannot write {path}: .*; remove the"):
        write(path)
    assert path.is_symlink()


def test_an_error_leaves_the_old_file_and_nothing_else(path):
    path.write_bytes(b"old")
    with (
        pytest.raises(KeyError, match="inside"),
        io.atomic_write(path, caller="test") as file,
    ):
        file.write(b"half")
        raise KeyError("inside")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


def test_errors_of_other_things_than_files_are_passed_on(path):
    error = ConnectionResetError(errno.ECONNRESET, "reset")
    with (
        pytest.raises(ConnectionResetError) as raised,
        io.atomic_write(path, caller="test"),
    ):
        raise error
    assert raised.value is error


def test_what_killed_processes_left_is_removed(path):
    code = (
        "import os, signal, sys; from pathlib import Path; from lucid_fn import io\n"
        "with io.atomic_write(Path(sys.argv[1]), caller='test') as file:\n"
        "    file.write(b'half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    for _ in range(2):
        run = subprocess.run([sys.executable, "-c", code, path], check=False)
        assert run.returncode == -signal.SIGKILL
        assert len(leftovers(path)) == 1  # the second one removed the first one's
    write(path)
    assert os.listdir(path.parent) == [path.name]


def test_files_that_another_writer_is_writing_are_left_to_it(path):
    with io.atomic_write(path, caller="test") as file:
        file.write(b"slow")
        write(path, b"fast")
        assert path.read_bytes() == b"fast"
    assert path.read_bytes() == b"slow"
    assert not leftovers(path)


def test_files_of_other_names_are_left_alone(path):
    others = [".file.bin.partial", ".other.bin.0123abcd.partial", ".file.bin.0123abcd"]
    for name in others:
        path.with_name(name).write_bytes(b"")
    write(path)
    assert sorted(os.listdir(path.parent)) == sorted([*others, path.name])


@pytest.mark.parametrize(
    "name", ["a" * 255, "é" * 127, "with space", "[*?].{}", os.fsdecode(b"\xff\xfe.x")]
)
def test_any_name_that_the_file_system_takes_will_do(tmp_path, name):
    write(tmp_path / name)
    assert io.read_bytes(tmp_path / name, caller="test") == b"new"
    assert os.listdir(tmp_path) == [name]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=rf"^test: .* no folder {tmp_path}/no; create it first"
    ):
        write(tmp_path / "no" / "file")


def test_a_file_in_the_place_of_a_folder_is_named(path):
    path.write_bytes(b"")
    with pytest.raises(OSError, match=rf"^test: .*{path}"):
        write(path / "file")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError, match=rf"^test: .* the folder {tmp_path}; n"):
        write(tmp_path)
    with pytest.raises(IsADirectoryError, match=rf"^test: .* the folder {tmp_path}; n"):
        io.read_bytes(tmp_path, caller="test")


def test_pipes_and_devices_are_neither_read_nor_replaced(path):
    os.mkfifo(path)
    for use in (write, lambda path: io.read_bytes(path, caller="test")):
        with pytest.raises(ValueError, match=rf"^test: .* a regular file, got {path}"):
            use(path)
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_failed_write_names_the_file_and_the_fix(path, monkeypatch, number):
    def fails(descriptor):
        raise OSError(number, os.strerror(number))

    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(
        OSError, match=rf"^test: cannot write {path}: {os.strerror(number)}; [a-z]+"
    ) as raised:
        write(path)
    assert raised.value.errno == number
    assert path.read_bytes() == b"old" and not leftovers(path)


def test_on_a_mac_the_disk_writes_its_cache_too(path, monkeypatch):
    calls = []
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("fsync"))
    monkeypatch.setattr(fcntl, "fcntl", lambda _, number: calls.append(number))
    write(path)
    assert calls == ["fsync", 51]


def test_a_limit_on_the_size_of_files_names_the_file(path):
    # What a full disk does, at every size of write, without filling one.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        for size in (1001, 2**20):
            with pytest.raises(OSError, match=rf"^test: cannot write {path}: .*raise"):
                write(path, bytes(size))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert not os.listdir(path.parent)


@pytest.mark.parametrize("use", [write, lambda p: io.check_writable(p, caller="test")])
def test_a_folder_that_may_not_be_written_to_is_named(path, monkeypatch, use):
    def refuses(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuses)
    with pytest.raises(
        PermissionError, match=rf"^test: cannot write {path}: Permission denied; get"
    ):
        use(path)


def test_checking_leaves_everything_as_it_is(path):
    io.check_writable(path, caller="test")
    assert not os.listdir(path.parent)
    path.write_bytes(b"old")
    io.check_writable(path, caller="test")
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == [path.name]


def test_a_file_that_is_not_there_is_named(path):
    with pytest.raises(FileNotFoundError, match=rf"^test: there is no file {path}"):
        io.read_bytes(path, caller="test")


@pytest.mark.parametrize("value", [None, 3, b"bytes", ["a"]])
def test_other_things_than_paths_are_named(value):
    with pytest.raises(TypeError, match=r"^test: root must be a path, got "):
        io.check_path("test", "root", value)


@pytest.mark.parametrize("value", ["", "a\0b"])
def test_paths_that_no_file_can_have_are_named(value):
    with pytest.raises(ValueError, match=r"^test: root must be a non-empty path"):
        io.check_path("test", "root", value)


def test_the_home_folder_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert io.check_path("test", "root", "~/a") == tmp_path / "a"
    assert io.check_path("test", "root", tmp_path) == tmp_path
