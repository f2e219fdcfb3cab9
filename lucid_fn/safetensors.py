"""Reading and writing safetensors files.

A file consists of the length of its header in eight bytes, the header in JSON, and the
data of all tensors without gaps. The header gives the dtype, the shape and the position
of each tensor. It is validated before any array is made, because MLX itself accepts
impossible shapes.

Source: https://github.com/huggingface/safetensors, section "Format".
"""

import json
import math
import os
from collections import Counter
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lucid_fn import io
from lucid_fn.numpy_arrays import is_bfloat16, to_contiguous
from lucid_fn.types import Array

_DTYPES = {
    "BOOL": "|b1",
    "U8": "|u1",
    "I8": "|i1",
    "U16": "<u2",
    "I16": "<i2",
    "F16": "<f2",
    "BF16": "<u2",  # viewed as bfloat16 by MLX, since NumPy has no such dtype
    "U32": "<u4",
    "I32": "<i4",
    "F32": "<f4",
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
    "C64": "<c8",
}
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items() if name != "BF16"}
_MAX_HEADER = 100_000_000  # bytes, as in the reference implementation
_MAX_AXES = 32
_MAX_LENGTH = 2**31 - 1  # of an axis
_METADATA = "__metadata__"


class _Entry(NamedTuple):
    """The header's description of one tensor."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read(path: Path, *, caller: str) -> tuple[dict[str, Array], dict[str, str]]:
    """Read the tensors of a safetensors file by name, and the metadata of its header.

    Args:
        path: the file.
        caller: the name that errors begin with.

    Returns:
        `(arrays, metadata)`; the arrays are evaluated and have the file's dtypes.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it cannot be read.
        ValueError: if it is not a complete and valid safetensors file, or has a dtype
            that MLX does not support. The message names the file, the tensor and what
            is wrong.
    """
    with io.reading(path, caller=caller) as file:
        try:
            entries, metadata = _parse(file)
            arrays = {entry.name: _read_tensor(file, entry) for entry in entries}
        except ValueError as error:
            raise ValueError(
                f"{caller}: {path} is damaged, cut short or not a safetensors file: "
                f"{error}"
            ) from error
    mx.eval(arrays)
    return arrays, metadata


def write(
    path: Path,
    tensors: Mapping[str, Array | NDArray[Any]],
    metadata: Mapping[str, str],
    *,
    caller: str,
) -> None:
    """Write tensors by name to a safetensors file, atomically.

    Args:
        path: the file; its folder exists.
        tensors: MLX arrays, or NumPy arrays of a dtype that `check_numpy` accepts.
        metadata: strings by name, for the header.
        caller: the name that errors begin with.

    Raises:
        OSError: as `io.atomic_write`.
        TypeError: if a tensor is complex128, which the format does not support.
        ValueError: if a name is not a string of Unicode characters, or is
            `__metadata__`.
    """
    for name in tensors:
        if not _is_name(name) or name == _METADATA:
            raise ValueError(
                f"{caller}: names of arrays must be strings other than {_METADATA}, "
                f"got {name!r}"
            )
    # The widest dtypes first, so that every tensor is aligned to its item size.
    contents = sorted(
        stored(tensors, caller=caller).items(), key=lambda item: -item[1][1].itemsize
    )
    header: dict[str, Any] = {_METADATA: dict(metadata)} if metadata else {}
    end = 0
    for name, (dtype, data) in contents:
        begin, end = end, end + data.nbytes
        header[name] = {
            "dtype": dtype,
            "shape": data.shape,
            "data_offsets": (begin, end),
        }
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with io.atomic_write(path, caller=caller) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _, (_, data) in contents:
            file.write(data.data)


def stored(
    tensors: Mapping[str, Array | NDArray[Any]], *, caller: str
) -> dict[str, tuple[str, NDArray[Any]]]:
    """For each tensor the format's name of its dtype, and its data as in the file.

    All MLX arrays are evaluated together, and contiguous data is not copied.

    Args:
        tensors: as in `write`.
        caller: the name that errors begin with.

    Raises:
        TypeError: as `write`.
    """
    bits = {
        name: x.view(mx.uint16)
        if isinstance(x, mx.array) and x.dtype == mx.bfloat16
        else x
        for name, x in tensors.items()
    }
    mx.eval([x for x in bits.values() if isinstance(x, mx.array)])
    return {name: _stored(caller, name, x, bits[name]) for name, x in tensors.items()}


def _stored(
    caller: str, name: str, x: Array | NDArray[Any], bits: Array | NDArray[Any]
) -> tuple[str, NDArray[Any]]:
    data = to_contiguous(np.asarray(bits))
    if bits is not x:
        return "BF16", data
    if is_bfloat16(data):
        return "BF16", data.view(np.uint16)
    if data.dtype not in _NAMES:
        raise TypeError(
            f"{caller}: {name} must have a dtype of safetensors, got {data.dtype}; "
            "convert it with astype"
        )
    return _NAMES[data.dtype], data


def _is_name(name: Any) -> bool:
    # JSON can escape half of a surrogate pair, which UTF-8 cannot encode.
    return isinstance(name, str) and name.encode("utf-8", "ignore").decode() == name


def _read_tensor(file: BufferedReader, entry: _Entry) -> Array:
    """Read the tensor that starts at the current position of the file."""
    data = np.empty(math.prod(entry.shape), _DTYPES[entry.dtype])
    if file.readinto(data.data) != data.nbytes:
        raise ValueError(f"{entry.name}: its data is cut short")
    if entry.dtype == "BOOL" and data.size and data.view(np.uint8).max() > 1:
        raise ValueError(f"{entry.name}: a BOOL must be 0 or 1")
    data = data.reshape(entry.shape)
    if entry.dtype == "F64":
        return mx.array(data, mx.float64)
    array = mx.array(data)
    return array.view(mx.bfloat16) if entry.dtype == "BF16" else array


def _parse(file: BufferedReader) -> tuple[list[_Entry], dict[str, str]]:
    """The validated header: entries in the order of their data, and the metadata."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(8)
    if start.startswith(b"PK\x03\x04"):
        raise ValueError(
            "it is a zip archive, as torch.save writes it; read it with "
            "interop.torch.load_pt"
        )
    length = int.from_bytes(start, "little")
    if size < 8:
        raise ValueError(f"it has {size} bytes, fewer than the 8 of a header length")
    if length > min(size - 8, _MAX_HEADER):
        raise ValueError(
            f"its header would be {length} bytes long, of a file of {size} bytes"
        )
    header = _loads(file.read(length))
    metadata = header.pop(_METADATA, None)  # MLX writes null where there is none
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict) or not all(
        type(text) is str for text in metadata.values()
    ):
        raise ValueError(f"{_METADATA} must hold strings by name")
    entries = [_entry(name, fields) for name, fields in header.items()]
    entries.sort(key=lambda entry: (entry.begin, entry.end))
    _check_cover(entries, size - 8 - length)
    return entries, metadata


def _loads(text: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
            raise ValueError(f"its header holds {twice!r} twice")
        return found

    try:
        decoded = text.decode()
        if not decoded.startswith("{"):
            raise ValueError(f"its header must begin with {{, got {decoded[:1]!r}")
        header: dict[str, Any] = json.loads(decoded, object_pairs_hook=unique)
    except UnicodeDecodeError as error:
        raise ValueError(f"its header is not UTF-8: {error}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"its header is not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("its header is nested too deeply") from error
    return header


def _entry(name: str, fields: Any) -> _Entry:
    match fields:
        case {"dtype": str(dtype), "shape": list(shape), "data_offsets": [begin, end]}:
            pass
        case _:
            raise ValueError(f"{name}: must have a dtype, a shape and data_offsets")
    if not _is_name(name):
        raise ValueError(f"{name!r}: must be a name of Unicode characters")
    if dtype not in _DTYPES:
        raise ValueError(
            f"{name}: must have a dtype that MLX supports, got {dtype}; supported are "
            f"{', '.join(_DTYPES)}"
        )
    if len(shape) > _MAX_AXES:
        raise ValueError(
            f"{name}: must have at most {_MAX_AXES} axes, got {len(shape)}"
        )
    if not all(type(n) is int and 0 <= n <= _MAX_LENGTH for n in shape):
        raise ValueError(
            f"{name}: must have a shape of integers from 0 to {_MAX_LENGTH}, got "
            f"{shape}"
        )
    if not all(type(n) is int and n >= 0 for n in (begin, end)):
        raise ValueError(
            f"{name}: data_offsets must be two integers from 0, got [{begin}, {end}]"
        )
    itemsize = np.dtype(_DTYPES[dtype]).itemsize
    needed = math.prod(shape) * itemsize
    if end - begin != needed:
        raise ValueError(
            f"{name}: {dtype} of shape {tuple(shape)} takes {needed} bytes, got "
            f"data_offsets [{begin}, {end}]"
        )
    # Even an empty array has strides.
    if not needed and math.prod(n for n in shape if n) * itemsize >= 2**63:
        raise ValueError(f"{name}: must have strides below 2^63, got shape {shape}")
    return _Entry(name, dtype, tuple(shape), begin, end)


def _check_cover(entries: list[_Entry], size: int) -> None:
    """Raise unless the tensors cover the data without gaps or overlaps."""
    end, before = 0, "the header"
    for entry in [*entries, _Entry("the end of the file", "", (), size, size)]:
        if entry.begin != end:
            what = "overlaps" if entry.begin < end else "leaves a gap after"
            raise ValueError(
                f"{entry.name}: begins at byte {entry.begin} of the data and {what} "
                f"{before}, which ends at {end}"
            )
        end, before = entry.end, entry.name
