"""Atomic writes, and errors that name the file and the fix."""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Iterator
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Any

_FIXES = {
    errno.ENOSPC: "make room on the disk, or write elsewhere",
    errno.EDQUOT: "make room in the disk quota, or write elsewhere",
    errno.EFBIG: "raise the limit on the size of files, or write elsewhere",
    errno.EROFS: "write to a file system that is not read-only",
    errno.EACCES: "get the permission, or choose another place",
    errno.EPERM: "get the permission, or choose another place",
    errno.EIO: "check the disk",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "remove the symbolic link that leads to itself",
    errno.ENOTDIR: "choose a path through folders",
    errno.EEXIST: "give the path of a folder",
    errno.EISDIR: "give the path of a file",
    errno.EMFILE: "close some files first",
    errno.ENOENT: "check the path",
}
"""Remedies for errors of the file system, by number."""


def check_path(caller: str, name: str, value: Any) -> Path:
    """Convert an argument to a path, expanding `~` to the home folder.

    Raises:
        TypeError: if it is neither a string nor a path.
        ValueError: if it is empty or contains a null character.
    """
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str):
        raise TypeError(f"{caller}: {name} must be a path, got {value!r:.80}")
    if not path or "\0" in path:
        raise ValueError(
            f"{caller}: {name} must be a non-empty path without null characters, got "
            f"{value!r}"
        )
    return Path(os.path.expanduser(path))


@contextlib.contextmanager
def reading(path: Path, *, caller: str) -> Iterator[BufferedReader]:
    """Open a file for reading.

    Args:
        path: the file.
        caller: the name that errors begin with.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it is a folder, or cannot be read; the message names it.
        ValueError: if it is a pipe or a device.
    """
    with _explain_errors(caller, "read", path):
        if not path.exists():
            raise FileNotFoundError(f"{caller}: there is no file {path}")
        _check_regular(path, caller)
        with open(path, "rb") as file:
            yield file


def read_bytes(path: Path, *, caller: str) -> bytes:
    """Read a whole file; arguments and errors are those of `reading`."""
    with reading(path, caller=caller) as file:
        return file.read()


@contextlib.contextmanager
def atomic_write(path: Path, *, caller: str) -> Iterator[BufferedWriter]:
    """Open a temporary binary file that replaces `path` if the block succeeds.

    Readers see the old file or the new one, never a partial one, even if the process is
    killed or the power fails. An existing file's mode is kept, and if `path` is a
    symbolic link, its target is replaced. Temporary files left by processes that were
    killed while writing to `path` are removed.

    Args:
        path: the file; its folder exists.
        caller: the name that errors begin with.

    Raises:
        FileNotFoundError: if the folder does not exist.
        OSError: if the file cannot be written; the message names it.
        ValueError: if `path` is a pipe or a device.

    Example:
        >>> import pathlib, tempfile
        >>> from lucid_fn import io
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "notes.txt"
        >>> with io.atomic_write(path, caller="example") as file:
        ...     written = file.write(b"whole")
        >>> path.read_bytes()
        b'whole'
    """
    with _explain_errors(caller, "write", path):
        target = _target(path, caller)
        temporary, file = _create_beside(target)
        try:
            with file:
                yield file
                # Without this, a power cut after the rename may leave an empty file.
                file.flush()
                _fsync(file.fileno())
                os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def _fsync(descriptor: int) -> None:
    """`os.fsync`, and on macOS also a flush of the disk's own cache."""
    os.fsync(descriptor)
    if number := getattr(fcntl, "F_FULLFSYNC", None):
        with contextlib.suppress(OSError):  # a file system without it
            fcntl.fcntl(descriptor, number)


def check_writable(path: Path, *, caller: str) -> None:
    """Raise now the errors that `atomic_write` to this path would raise later.

    Args:
        path: the file; its folder exists.
        caller: the name that errors begin with.
    """
    with _explain_errors(caller, "write", path):
        temporary, file = _create_beside(_target(path, caller))
        with file:
            temporary.unlink()


def make_folder(path: Path, *, caller: str) -> None:
    """Create a folder and its parents if they do not exist.

    Args:
        path: the folder.
        caller: the name that errors begin with.

    Raises:
        OSError: if it cannot be created, or is a file; the message names it.
    """
    with _explain_errors(caller, "create the folder", path):
        path.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _explain_errors(caller: str, verb: str, path: Path) -> Iterator[None]:
    """Reraise errors of the file system with the caller, the file and the fix."""
    try:
        yield
    except OSError as error:
        number = error.errno
        # NumPy raises an OSError without a number for a write that was cut short.
        from_file = number in _FIXES or (number is None and type(error) is OSError)
        if not from_file or str(error).startswith(f"{caller}: "):
            raise
        fix = _FIXES.get(number or errno.ENOSPC)
        explained = type(error)(
            f"{caller}: cannot {verb} {path}: {error.strerror or error}; {fix}"
        )
        explained.errno = number
        raise explained from error


def _target(path: Path, caller: str) -> Path:
    """The file to replace: `path`, or the target of a symbolic link."""
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"{caller}: cannot write {path}: there is no folder {target.parent}; "
            "create it first"
        )
    if target.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    if target.exists():
        _check_regular(target, caller)
    return target


def _check_regular(path: Path, caller: str) -> None:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(
            f"{caller}: path must be a file, got the folder {path}; name a file in it"
        )
    if not stat.S_ISREG(mode):
        raise ValueError(
            f"{caller}: path must be a regular file, got {path}, a pipe or a device"
        )


def _create_beside(target: Path) -> tuple[Path, BufferedWriter]:
    """Create a temporary file beside `target`, locked for as long as it is open.

    The lock distinguishes files that are being written from those of killed processes.
    """
    mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
    name = target.name
    if len(os.fsencode(name)) > 200:  # a file name is limited to 255 bytes
        name = hashlib.sha256(os.fsencode(name)).hexdigest()
    _remove_abandoned(target.parent, name)
    while True:
        path = target.with_name(f".{name}.{secrets.token_hex(4)}.partial")
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        descriptor = os.open(path, flags, 0o666 if mode is None else mode | 0o200)
        try:
            _lock(descriptor)
            if mode is not None:
                os.fchmod(descriptor, mode)
            # Another process may have removed it as abandoned before it was locked.
            if os.path.exists(path):
                # Opened by its path, so that `file.name` is the path.
                return path, open(path, "wb", opener=lambda *_, fd=descriptor: fd)
        except BaseException:
            os.close(descriptor)
            path.unlink(missing_ok=True)
            raise
        os.close(descriptor)


def _remove_abandoned(folder: Path, name: str) -> None:
    pattern = re.compile(rf"\.{re.escape(name)}\.[0-9a-f]{{8}}\.partial")
    try:
        found = [entry for entry in os.listdir(folder) if pattern.fullmatch(entry)]
    except OSError:  # a folder that can be written but not listed
        return
    for entry in found:
        with contextlib.suppress(OSError):
            descriptor = os.open(folder / entry, os.O_RDONLY | os.O_NOFOLLOW)
            try:
                if _lock(descriptor):
                    os.unlink(folder / entry)
            finally:
                os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Try to lock the file; also `False` where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
