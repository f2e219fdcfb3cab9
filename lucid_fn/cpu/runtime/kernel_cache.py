"""The folder in which MLX keeps the kernels that it compiles for the CPU.

MLX loads whatever file has the name of a kernel. One that a full disk or a crash cut
short ends the process (SIGBUS), an empty one or another kernel's is a `RuntimeError`,
and each run meets it again. Where the folder cannot be written to, every compilation is
an error. So the folder is looked at once a process, before the first kernel is needed:
files that have changed since the last look are read, the others cost a few us each.
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
_STAMP = "checked_by_lucid_fn"  # a file whose time is that of the last look
_COARSE = 3.0  # seconds by which times in a file system may be late
_ABANDONED = 3600.0  # seconds after which no compiler writes to a temporary file


def temporary() -> Path:
    """The folder for temporary files, as MLX finds it."""
    found = (os.environ[name] for name in _VARIABLES if name in os.environ)
    return Path(next(found, "/tmp") or "/nowhere")  # an empty one is no folder


def folder() -> Path:
    """The folder in which MLX keeps its compiled kernels."""
    version: str = mx.__version__  # type: ignore[attr-defined]  # missing in MLX's stubs
    return temporary() / "mlx" / version / "cpu"


@functools.cache
def prepare() -> None:
    """Makes sure, once a process, that MLX can use the folder and what is in it.

    Where it cannot be used, MLX gets one of this user's own by way of TMPDIR; where
    there is none either, compiled functions run unfused. Damaged kernels are removed,
    and MLX compiles them again.

    Warns:
        RuntimeWarning: if kernels were damaged, or if there is no folder for them.
    """
    if sys.platform != "linux" or mx.default_device() != mx.cpu:
        return
    if "MLX_DISABLE_COMPILE" in os.environ:
        return
    if (reason := obstacle()) and not _move():
        mx.disable_compile()
        _warn(
            f"MLX cannot keep compiled kernels ({reason}), so compiled functions run "
            "unfused and slowly; set TMPDIR to a folder of your own"
        )
    elif damaged := repair():
        _warn(f"{told(damaged)}; MLX compiles what it needs of them again")


def obstacle() -> str:
    """Why MLX cannot keep kernels in the folder; empty if it can."""
    nearest = temporary()
    if not nearest.is_dir():
        return f"{nearest} is not a folder"
    for path in (*reversed(folder().parents[:2]), folder()):
        if not os.path.lexists(path):
            break
        nearest = path
        if not path.is_dir():
            return f"{path} is not a folder"
        # Whoever owns it could put programs there that this process would run.
        if path.stat().st_uid not in (os.getuid(), 0):
            return f"{path} belongs to another user"
    return _unfit(nearest)


def repair(*, thorough: bool = False) -> dict[str, str]:
    """Removes damaged kernels, and what killed compilers have left.

    Args:
        thorough: whether to read what has not changed since the last look, too.

    Returns:
        What was wrong with each file that was removed, by its name.
    """
    stamp, start, damaged = folder() / _STAMP, time.time(), dict[str, str]()
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):  # nothing there
        since = stamp.stat().st_mtime - _COARSE if stamp.exists() else 0.0
        for path in _kernels(0.0 if thorough else since):
            with contextlib.suppress(OSError):  # another process has removed it
                if why := damage(path):
                    path.unlink()
                    damaged[path.name] = why
        remove_abandoned("tmp_*")
        with contextlib.suppress(OSError):  # then the next look is as long
            stamp.touch()
            os.utime(stamp, (start, start))
    return damaged


def told(damaged: dict[str, str]) -> str:
    """What `repair` did, in words."""
    number, (name, why) = len(damaged), next(iter(damaged.items()))
    kernels = f"{number} damaged kernel{'s' * (number != 1)}"
    return f"removed {kernels} from {folder()} ({name} {why})"


def remove_abandoned(pattern: str) -> None:
    """Removes temporary files that killed compilers have left in the folder."""
    for path in folder().glob(pattern):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < time.time() - _ABANDONED:
                path.unlink()


def clear() -> None:
    """Removes all kernels."""
    for path in _kernels(0.0):
        path.unlink(missing_ok=True)


def _kernels(since: float) -> Iterator[Path]:
    """The files of kernels that were written, renamed or cut since a time."""
    with os.scandir(folder()) as entries:
        for entry in entries:
            if not (entry.name.startswith("lib") and entry.name.endswith(".so")):
                continue
            # `ctime`, since renaming leaves the time of the last writing as it is.
            if entry.is_file() and entry.stat().st_ctime >= since:
                yield Path(entry.path)


def _move() -> bool:
    """Gives MLX a folder of this user's own, where there is one."""
    for root in (temporary(), Path("/tmp"), Path("/var/tmp")):
        own = root / f"lucid_fn-{os.getuid()}"
        with contextlib.suppress(OSError):
            own.mkdir(mode=0o700, exist_ok=True)
            found = own.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
                continue
            if found.st_uid == os.getuid() and not _unfit(own):
                _keep_other_temporary_files()
                os.environ[_VARIABLES[0]] = str(own)
                return True
    return False


def _keep_other_temporary_files() -> None:
    """Lets Python's temporary files stay where they would have been."""
    import tempfile  # not above: it is rarely needed

    with contextlib.suppress(OSError):
        tempfile.gettempdir()  # which it remembers


def _unfit(path: Path) -> str:
    """Why kernels cannot be written to a folder, or not be loaded from it."""
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        return f"{path} cannot be written to"
    if os.statvfs(path).f_flag & os.ST_NOEXEC:
        return f"{path} is mounted noexec"
    return ""


def _warn(text: str) -> None:
    # At the call of the compiled function, by way of `jit`, the seam and the header.
    warnings.warn(f"lucid_fn: {text}", RuntimeWarning, stacklevel=7)
