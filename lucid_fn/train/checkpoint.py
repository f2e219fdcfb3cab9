"""A training run in one safetensors file."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import mlx.core as mx

from lucid_fn import tree
from lucid_fn.train.files import write_atomically
from lucid_fn.types import Array

T = TypeVar("T")

_FORMAT = "lucid_fn-1"
_OWN = ("format", "checksum")


def save(
    path: str | Path, ts: Any, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Writes a tree of arrays, such as a `TrainState`, to a safetensors file.

    Each array has its dotted path as its name: `params.conv1.weight`. The file is
    written beside the old one and then put in its place, so that a kill at any moment
    leaves the one or the other. A checksum of all arrays goes into it.

    Args:
        path: ends in `.safetensors`; its folder exists.
        ts: a tree of arrays.
        metadata: strings to keep in the header.

    Raises:
        ValueError: if `path` ends otherwise, or metadata has a name of the format's.
        TypeError: if a leaf is not an array.
        FileNotFoundError: if the folder does not exist.

    Example:
        >>> import tempfile
        >>> import mlx.core as mx
        >>> from lucid_fn import train
        >>> path = tempfile.mkdtemp() + "/run.safetensors"
        >>> train.save(path, {"w": mx.array([1.0, 2.0])})
        >>> train.load(path, like={"w": mx.zeros(2)})
        {'w': array([1, 2], dtype=float32)}
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"train.save: path must end in .safetensors, got {path}")
    taken = [name for name in _OWN if name in (metadata or {})]
    if taken:
        raise ValueError(f"train.save: metadata must not hold {', '.join(taken)}")
    arrays = tree.named_leaves(ts)
    for name, leaf in arrays.items():
        if not isinstance(leaf, mx.array):
            raise TypeError(
                f"train.save: {name} must be an array, got {type(leaf).__name__} "
                f"{leaf!r}; put constants into metadata"
            )
    header = {**(metadata or {}), "format": _FORMAT, "checksum": _checksum(arrays)}
    write_atomically(path, lambda file: mx.save_safetensors(str(file), arrays, header))


def load(path: str | Path, like: T) -> T:
    """Reads what `save` wrote into the structure of `like`.

    Args:
        path: the file.
        like: a tree of arrays with the structure, shapes and dtypes that the file must
            have, such as what `train.init` returns; its values do not matter.

    Returns:
        A tree with the structure of `like` and the arrays of the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, cut short or of another kind; if names are
            missing or unexpected, or shapes or dtypes differ. All are listed.

    Example:
        >>> import tempfile
        >>> from lucid_fn import nn, optim, random, train
        >>> path = tempfile.mkdtemp() + "/run.safetensors"
        >>> ts = train.init(nn.linear(3, 2), optim.sgd(0.1), random.key(0))
        >>> train.save(path, ts)
        >>> train.load(path, like=ts).params["weight"].shape
        (2, 3)
    """
    arrays, _ = _read(Path(path))
    restored: T = tree.restore(like, arrays, caller=f"train.load: {path}")
    return restored


def load_metadata(path: str | Path) -> dict[str, str]:
    """The strings that `save` was given as metadata.

    Args:
        path: a file that `save` wrote.

    Returns:
        The strings by name.

    Raises:
        FileNotFoundError: as `load`.
        ValueError: as `load`.

    Example:
        >>> import tempfile
        >>> import mlx.core as mx
        >>> from lucid_fn import train
        >>> path = tempfile.mkdtemp() + "/run.safetensors"
        >>> train.save(path, {"w": mx.zeros(2)}, metadata={"dataset": "mnist"})
        >>> train.load_metadata(path)
        {'dataset': 'mnist'}
    """
    _, metadata = _read(Path(path))
    return {name: value for name, value in metadata.items() if name not in _OWN}


def _read(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    if not path.is_file():
        raise FileNotFoundError(f"train.load: there is no file {path}")
    try:
        loaded: Any = mx.load(str(path), format="safetensors", return_metadata=True)
        arrays, metadata = loaded
        # Read now: a later read would find what the file has become by then.
        mx.eval(arrays)
    except (RuntimeError, ValueError, UnicodeDecodeError) as error:
        raise ValueError(
            f"train.load: {path} is damaged, cut short or not a safetensors file: "
            f"{error}"
        ) from error
    if metadata.get("format") != _FORMAT:
        raise ValueError(
            f"train.load: {path} must be a file that train.save wrote, got format "
            f"{metadata.get('format')!r}; read other files with lucid_fn.interop"
        )
    if metadata.get("checksum") != _checksum(arrays):
        raise ValueError(
            f"train.load: {path} is damaged: its checksum is not that of its arrays"
        )
    return arrays, metadata


def _checksum(arrays: Mapping[str, Array]) -> str:
    """CRC-32 of names, dtypes, shapes and bytes."""
    crc = 0
    for name in sorted(arrays):
        array = arrays[name]
        crc = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), crc)
        if array.size:
            crc = zlib.crc32(memoryview(array.reshape(-1).view(mx.uint8)), crc)  # type: ignore[arg-type]  # has the buffer protocol, MLX's stubs do not say so
    return f"{crc:08x}"
