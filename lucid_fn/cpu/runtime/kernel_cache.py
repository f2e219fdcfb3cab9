"""Checks and repairs the folder in which MLX keeps compiled CPU kernels.

MLX loads any file that has a kernel's name. A file truncated by a full disk or a crash
ends the process (SIGBUS), and an empty one or one of another kernel is a
`RuntimeError`, at every run. If the folder is not writable, every compilation fails. So
each process checks it before the first kernel is needed, and reads the files that have
changed since the last check; the others cost a few us each.
"""

import contextlib
import functools
import os
import stat
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx

from lucid_fn.cpu.runtime.kernel_file import damage

# As std::filesystem reads them: the first that is set counts, even if it is empty.
_VARIABLES = ("TMPDIR", "TMP", "TEMP", "TEMPDIR")
_STAMP = "checked_by_lucid_fn"  # a file that has the time of the last check
_CLOCK_SKEW = 3.0  # seconds by which the times of a file system may be late
_ABANDONED = 3600.0  # seconds after which a temporary file is no longer in use


def temporary() -> Path:
    """The folder for temporary files that MLX uses."""
    found = (os.environ[name] for name in _VARIABLES if name in os.environ)
    return Path(next(found, "/tmp") or "/nowhere")  # "" is not a folder


def folder() -> Path:
    """The folder in which MLX keeps its compiled kernels."""
    version: str = mx.__version__  # type: ignore[attr-defined]  # missing in MLX's stubs
    return temporary() / "mlx" / version / "cpu"


@functools.cache
def prepare() -> None:
    """Make sure, once per process, that MLX can use the folder and its kernels.

    If the folder is unusable, TMPDIR is set to a private one; if there is none either,
    compilation is disabled. Damaged kernels are removed, and MLX compiles them again.

    Warns:
        RuntimeWarning: if kernels were damaged, or if there is no folder for them.
    """
    if sys.platform != "linux" or mx.default_device() != mx.cpu:
        return
    if "MLX_DISABLE_COMPILE" in os.environ:
        return
    if (reason := obstacle()) and not _use_private_folder():
        mx.disable_compile()
        _warn(
            f"MLX cannot keep compiled kernels ({reason}), so compiled functions run "
            "unfused and slowly; set TMPDIR to a folder of your own"
        )
    elif damaged := repair():
        _warn(f"{describe(damaged)}; MLX compiles them again when needed")


def obstacle() -> str:
    """The reason why MLX cannot use the folder; empty if it can."""
    nearest = temporary()
    if not nearest.is_dir():
        return f"{nearest} is not a folder"
    for path in (*reversed(folder().parents[:2]), folder()):
        if not os.path.lexists(path):
            break
        nearest = path
        if not path.is_dir():
            return f"{path} is not a folder"
        # Its owner could put code there that this process would run.
        if path.stat().st_uid not in (os.getuid(), 0):
            return f"{path} belongs to another user"
    return _unusable(nearest)


def repair(*, thorough: bool = False) -> dict[str, str]:
    """Remove damaged kernels, and temporary files of killed compilers.

    Args:
        thorough: whether to read all kernels, not only those changed since the last
            check.

    Returns:
        What was wrong with each removed file, by its name.
    """
    stamp, start, damaged = folder() / _STAMP, time.time(), dict[str, str]()
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # no kernels yet
        since = stamp.stat().st_mtime - _CLOCK_SKEW if stamp.exists() else 0.0
        for path in _kernels(0.0 if thorough else since):
            with contextlib.suppress(OSError):  # another process has removed it
                if why := damage(path):
                    path.unlink()
                    damaged[path.name] = why
        remove_abandoned("tmp_*")
        with contextlib.suppress(OSError):  # then the next check takes as long
            stamp.touch()
            os.utime(stamp, (start, start))
    return damaged


def describe(damaged: dict[str, str]) -> str:
    """A sentence on what `repair` removed."""
    number, (name, why) = len(damaged), next(iter(damaged.items()))
    kernels = f"{number} damaged kernel{'s' * (number != 1)}"
    return f"removed {kernels} from {folder()} ({name} {why})"


def remove_abandoned(pattern: str) -> None:
    """Remove temporary files of killed compilers from the folder."""
    for path in folder().glob(pattern):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - _ABANDONED:
                path.unlink()


def clear() -> None:
    """Remove all kernels."""
    for path in _kernels(0.0):
        path.unlink(missing_ok=True)


def _kernels(since: float) -> Iterator[Path]:
    """The files of kernels that were written, renamed or truncated since a time."""
    with os.scandir(folder()) as entries:
        for entry in entries:
            if not (entry.name.startswith("lib") and entry.name.endswith(".so")):
                continue
            # `ctime`, since renaming does not change `mtime`.
            if entry.is_file() and entry.stat().st_ctime >= since:
                yield Path(entry.path)


def _use_private_folder() -> bool:
    """Set TMPDIR to a private folder; return whether there is one."""
    for root in (temporary(), Path("/tmp"), Path("/var/tmp")):
        own = root / f"lucid_fn-{os.getuid()}"
        with contextlib.suppress(OSError):
            own.mkdir(mode=0o700, exist_ok=True)
            found = own.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
                continue
            if found.st_uid == os.getuid() and not _unusable(own):
                _keep_other_temporary_files()
                os.environ[_VARIABLES[0]] = str(own)
                return True
    return False


def _keep_other_temporary_files() -> None:
    """Keep the folder of Python's `tempfile`, which caches it at the first call."""
    import tempfile  # rarely needed

    with contextlib.suppress(OSError):
        tempfile.gettempdir()


def _unusable(path: Path) -> str:
    """The reason why kernels cannot be written to or loaded from a folder, or ""."""
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return f"{path} cannot be written to"
    if os.statvfs(path).f_flag & os.ST_NOEXEC:
        return f"{path} is mounted noexec"
    return ""


def _warn(text: str) -> None:
    # The frame that calls the compiled function.
    warnings.warn(f"lucid_fn: {text}", RuntimeWarning, stacklevel=7)
