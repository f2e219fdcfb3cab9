"""Saving and loading a training run as one safetensors file."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import mlx.core as mx

from lucid_fn import io, safetensors, tree
from lucid_fn.checks import check_bool
from lucid_fn.optim.zero_redundancy import check_whole, shard_state, whole_like
from lucid_fn.train import partial_loading
from lucid_fn.types import Array

_FORMAT = "lucid_fn-2"
_WITHOUT_METADATA = "lucid_fn-1"  # the previous format; its checksum covers arrays only
_RESERVED = ("format", "checksum")  # names in the header


def save(
    path: str | Path, ts: Any, *, metadata: Mapping[str, str] | None = None
) -> None:
    """Save a tree of arrays, such as a `TrainState`, to a safetensors file.

    Arrays are named by their dotted paths, such as `params.conv1.weight`. The write is
    atomic: a process that is killed at any moment leaves the old file or the new one.
    The file contains a checksum of its arrays and metadata.

    Args:
        path: must end in `.safetensors`; the folder must exist.
        ts: a tree of arrays.
        metadata: strings by name, stored in the header.

    Raises:
        ValueError: if `path` has another suffix, or metadata uses a reserved name; if
            `ts` has only this rank's part of an optimizer's state, as with
            `optim.zero_redundancy`: call `optim.unshard_state` first.
        TypeError: if a leaf is not an array, or metadata is not strings by name.
        FileNotFoundError: if the folder does not exist.
        OSError: if the file cannot be written; the message names it.

    Example:
        >>> import tempfile
        >>> import mlx.core as mx
        >>> from lucid_fn import train
        >>> path = tempfile.mkdtemp() + "/run.safetensors"
        >>> train.save(path, {"w": mx.array([1.0, 2.0])})
        >>> train.load(path, like={"w": mx.zeros(2)})
        {'w': array([1, 2], dtype=float32)}
    """
    caller = "train.save"
    if isinstance(ts, str | Path):
        raise TypeError(
            f"{caller}: ts must be a tree of arrays, got {ts!r}; write save(path, ts)"
        )
    path = check_path(caller, "path", path)
    metadata = _check_metadata(caller, metadata)
    check_whole(caller, ts)
    arrays = tree.named_leaves(ts)
    for name, leaf in arrays.items():
        if not isinstance(leaf, mx.array):
            raise TypeError(
                f"{caller}: {name} must be an array, got {type(leaf).__name__} "
                f"{leaf!r}; put constants into metadata"
            )
    checksum = _checksum(arrays, metadata)
    header = {**metadata, "format": _FORMAT, "checksum": checksum}
    safetensors.write(path, arrays, header, caller=caller)


def check_path(caller: str, name: str, path: Any) -> Path:
    """Check that `path` ends in `.safetensors`; return it as a `Path`."""
    checked = io.check_path(caller, name, path)
    if checked.suffix != ".safetensors":
        raise ValueError(f"{caller}: {name} must end in .safetensors, got {checked}")
    return checked


def _check_metadata(caller: str, metadata: Any) -> dict[str, str]:
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, Mapping) or not all(
        isinstance(text, str) for pair in metadata.items() for text in pair
    ):
        raise TypeError(
            f"{caller}: metadata must be strings by name, got {metadata!r:.200}; "
            "convert numbers with str"
        )
    try:
        "".join((*metadata, *metadata.values())).encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{caller}: metadata must be Unicode text, got surrogates: {error}"
        ) from error
    taken = [name for name in _RESERVED if name in metadata]
    if taken:
        raise ValueError(f"{caller}: metadata must not hold {', '.join(taken)}")
    return dict(metadata)


def load(path: str | Path, like: Any = None, *, strict: bool = True) -> Any:
    """Load a file written by `save` into the structure of `like`.

    Args:
        path: the file.
        like: a tree of arrays with the expected structure, shapes and dtypes, such as
            the result of `train.init`; its values are ignored. With
            `optim.zero_redundancy`, each rank loads its part.
        strict: whether all arrays must match. With `False`, matching layers are loaded
            from the file and all others keep the arrays of `like`. A layer is loaded
            with all its params and its state or not at all; the optimizer's state, the
            key and the step are loaded only if everything matches.

    Returns:
        A tree with the structure of `like` and the arrays of the file. With
        `strict=False`, the pair of this tree and a `LoadReport`.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if the file cannot be read.
        TypeError: if there is no `like`.
        ValueError: if the file is damaged, truncated or not one that `save` wrote; if
            names are missing or unexpected, or shapes or dtypes differ (all are
            listed); with `strict=False`, if nothing matches.

    Example:
        >>> import tempfile
        >>> from lucid_fn import nn, optim, random, train
        >>> path = tempfile.mkdtemp() + "/run.safetensors"
        >>> ts = train.init(nn.linear(3, 2), optim.sgd(0.1), random.key(0))
        >>> train.save(path, ts)
        >>> train.load(path, like=ts).params["weight"].shape
        (2, 3)
    """
    caller = "train.load"
    if like is None:
        raise TypeError(
            f"{caller}: like must be given, the tree that the file is loaded into: "
            "train.load(path, like=train.init(model, optimizer, key)); mx.load(path) "
            "reads the arrays by name"
        )
    check_bool(caller, strict=strict)
    path = io.check_path(caller, "path", path)
    arrays, _ = read(path, caller)
    if strict:
        try:
            whole = tree.restore(whole_like(like), arrays, caller=f"{caller}: {path}")
            return shard_state(whole, like=like)
        except ValueError as error:
            error.add_note(
                "train.load_params loads the params and the state of all layers that "
                "match, whatever the optimizer"
            )
            raise
    return partial_loading.restore(like, arrays, caller=f"{caller}: {path}")


def load_params(path: str | Path, *, like: Any) -> Any:
    """Load the params and state of matching layers, such as a pretrained backbone's.

    A layer is loaded with all its params and its state, such as the running statistics
    of batch norm, or not at all. The optimizer's state, the key and the step of `like`
    are kept.

    Args:
        path: a file written by `save`, of a `TrainState` or of params alone.
        like: a `TrainState`, the pair `(params, state)`, or params to load into.

    Returns:
        The pair of `like` with the arrays that were loaded, and a `LoadReport`.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if the file cannot be read.
        ValueError: if the file is damaged, truncated or not one that `save` wrote, or
            if no layer matches.

    Example:
        >>> import tempfile
        >>> from lucid_fn import nn, optim, random, train
        >>> def model(num_classes):
        ...     return nn.serial(body=nn.linear(3, 4), head=nn.linear(4, num_classes))
        >>> path = tempfile.mkdtemp() + "/pretrained.safetensors"
        >>> train.save(path, train.init(model(1000), optim.sgd(0.1), random.key(0)))
        >>> ts = train.init(model(10), optim.adam(1e-3), random.key(1))
        >>> ts, report = train.load_params(path, like=ts)
        >>> report.taken
        ('params.body.bias', 'params.body.weight')
        >>> report.missing
        ('params.head.bias', 'params.head.weight')
    """
    caller = "train.load_params"
    path = io.check_path(caller, "path", path)
    arrays, _ = read(path, caller)
    return partial_loading.restore_params(like, arrays, caller=f"{caller}: {path}")


def load_metadata(path: str | Path) -> dict[str, str]:
    """The metadata that was passed to `save`.

    Args:
        path: a file written by `save`.

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
    caller = "train.load_metadata"
    _, metadata = read(io.check_path(caller, "path", path), caller)
    return metadata


def read(path: Path, caller: str) -> tuple[dict[str, Array], dict[str, str]]:
    """The arrays of a file, and its metadata without the reserved names."""
    arrays, metadata = safetensors.read(path, caller=caller)
    format, checksum = (metadata.pop(name, None) for name in _RESERVED)
    if format not in (_FORMAT, _WITHOUT_METADATA):
        raise ValueError(
            f"{caller}: {path} must be a file that train.save wrote, got format "
            f"{format!r}; read the weights of a PyTorch model with "
            "interop.torch.load_safetensors and from_state_dict"
        )
    if checksum != _checksum(arrays, metadata if format == _FORMAT else {}):
        raise ValueError(
            f"{caller}: {path} is damaged: its checksum does not match its content"
        )
    return arrays, metadata


def _checksum(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> str:
    """CRC-32 of names, dtypes, shapes and bytes, and of the metadata if any."""
    crc = 0
    for name, (_, data) in sorted(safetensors.stored(arrays, caller="train").items()):
        array = arrays[name]
        crc = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), crc)
        if array.size:
            crc = zlib.crc32(data.data, crc)
    if metadata:
        crc = zlib.crc32(json.dumps(metadata, sort_keys=True).encode(), crc)
    return f"{crc:08x}"
