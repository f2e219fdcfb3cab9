"""Files: atomic writes, reads whose errors name the file, and safe unpickling."""

from lucid_fn.io.files import (
    atomic_write,
    check_path,
    check_writable,
    make_folder,
    read_bytes,
    reading,
)
from lucid_fn.io.pickles import Handler, Opaque, unpickle

__all__ = [
    "Handler",
    "Opaque",
    "atomic_write",
    "check_path",
    "check_writable",
    "make_folder",
    "read_bytes",
    "reading",
    "unpickle",
]


def __dir__() -> list[str]:
    return __all__
