"""Read files written by `torch.save`, without PyTorch and without executing code.

Such a file is a zip archive of a pickle, `data.pkl`, and the storages `data/0`, ... The
few functions that rebuild tensors are replaced by our own; no others are called.
"""

import math
import os
import pickle
import zipfile
from io import BufferedReader
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lucid_fn.call_errors import explains_calls
from lucid_fn.io import Handler, Opaque, check_path, reading, unpickle
from lucid_fn.numpy_arrays import to_contiguous
from lucid_fn.types import Array

_STORAGES = {
    "torch.FloatStorage": "f4",
    "torch.DoubleStorage": "f8",
    "torch.HalfStorage": "f2",
    "torch.BFloat16Storage": "bf16",
    "torch.LongStorage": "i8",
    "torch.IntStorage": "i4",
    "torch.ShortStorage": "i2",
    "torch.CharStorage": "i1",
    "torch.ByteStorage": "u1",
    "torch.BoolStorage": "?",
    "torch.ComplexFloatStorage": "c8",
    "torch.ComplexDoubleStorage": "c16",
}
_UNTYPED = "torch.storage.UntypedStorage"
_DTYPES = {"torch.uint16": "u2", "torch.uint32": "u4", "torch.uint64": "u8"}
"""Dtypes of tensors with an untyped storage."""

# Tensors may share a storage, so a small file could demand any amount of memory.
_MAX_SHARING = 16
_MAX_AXES = 32
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


@explains_calls
def load_pt(path: str | os.PathLike[str]) -> Any:
    """Load a `.pt` or `.pth` file written by `torch.save`, with tensors as MLX arrays.

    PyTorch is not needed, and no code in the file is executed. Tensors, numbers,
    strings, bytes, sets, lists, tuples and dicts are loaded. Other objects, such as an
    `argparse.Namespace`, a `torch.dtype` or a NumPy scalar, are replaced by an `Opaque`
    placeholder whose `name`, `args`, `state` and `items` describe them. float64 becomes
    float32, and complex128 becomes complex64.

    Args:
        path: the file. A checkpoint is often a dict that contains the `state_dict`:
            look at its keys.

    Returns:
        The content of the file: for a model a `state_dict`, arrays by name.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if it cannot be read.
        ValueError: if the file is damaged, was written by PyTorch before version 1.6,
            is a `torch.jit` program, or is a whole model instead of its `state_dict`;
            if a tensor has a dtype that MLX does not support; or if the file names a
            function that runs commands or code, such as `os.system`.

    Example:
        >>> from lucid_fn import interop, models
        >>> state_dict = interop.torch.load_pt("lenet.pt")  # doctest: +SKIP
        >>> params, state = interop.torch.from_state_dict(
        ...     models.lenet5(), state_dict
        ... )  # doctest: +SKIP
    """
    path = check_path("load_pt", "path", path)
    with reading(path, caller="load_pt") as file:
        content = _read(path, file)
    if isinstance(content, Opaque):
        raise ValueError(
            f"load_pt: {path} must contain tensors by name, got an object of "
            f"{content.name}; save the state_dict, not the model"
        )
    return content


def _read(path: Path, file: BufferedReader) -> Any:
    if file.peek(len(_LEGACY))[: len(_LEGACY)] == _LEGACY:
        raise ValueError(
            f"load_pt: {path} must be a zip archive, got the format of PyTorch "
            "before 1.6; write it anew with torch.save(torch.load(path), path)"
        )
    if file.peek(9)[8:9] == b"{":  # after the length of the header
        raise ValueError(
            f"load_pt: {path} must be a file of torch.save, got a safetensors file; "
            "read it with load_safetensors"
        )
    try:
        with zipfile.ZipFile(file) as archive:
            return _Archive(archive, os.fstat(file.fileno()).st_size).load()
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"load_pt: {path} is damaged or not a file of torch.save: {error}"
        ) from error
    except pickle.UnpicklingError as error:
        raise ValueError(f"load_pt: {path} holds {error}") from error
    except Exception as error:  # a damaged archive may raise anything
        reason = f"{type(error).__name__} {error}".strip()
        raise ValueError(f"load_pt: {path} is damaged ({reason})") from error


class _Archive:
    """An open archive and the storages that were read from it."""

    def __init__(self, archive: zipfile.ZipFile, size: int) -> None:
        self.archive = archive
        self.size = size
        self.left = _MAX_SHARING * size + 2**20
        self.storages: dict[tuple[str, str], NDArray[Any]] = {}
        self.arrays: list[Array] = []
        names = archive.namelist()
        pickles = [n for n in names if n.count("/") == 1 and n.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise pickle.UnpicklingError("no data.pkl, as files of torch.save have")
        self.folder = pickles[0].removesuffix("data.pkl")
        if f"{self.folder}constants.pkl" in names:
            raise pickle.UnpicklingError(
                "a program made by torch.jit; save its state_dict instead"
            )
        big = f"{self.folder}byteorder" in names and self.member("byteorder") == b"big"
        self.order: Literal["<", ">"] = ">" if big else "<"

    def load(self) -> Any:
        handlers: dict[str, Handler] = {
            "torch.Size": tuple,
            "torch._utils._rebuild_tensor_v2": self.tensor,
            "torch._utils._rebuild_tensor_v3": self.untyped_tensor,
            "torch._utils._rebuild_parameter": _first,
            "torch._utils._rebuild_parameter_with_state": _first,
            # Tensors with attributes, such as buffers: (function, type, args, state).
            "torch._tensor._rebuild_from_type_v2": lambda function, _, args, *more: (
                handlers[function.name](*args)
            ),
        }
        program = self.member("data.pkl")
        try:
            content = unpickle(
                program, handlers, persistent=_reference, encoding="utf-8"
            )
        except ValueError as error:
            raise pickle.UnpicklingError(str(error)) from error
        mx.eval(self.arrays)
        return content

    def member(self, name: str) -> bytes:
        """Read a member of the archive.

        `torch.save` does not compress members, so none can be larger than the archive.
        """
        try:
            info = self.archive.getinfo(self.folder + name)
        except KeyError:
            raise pickle.UnpicklingError(f"no {name}: it is damaged") from None
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > self.size:
            raise pickle.UnpicklingError(
                f"{name} compressed, as torch.save does not write it"
            )
        return self.archive.read(info)

    def tensor(self, storage: Any, *parts: Any) -> Array:
        """Replaces `torch._utils._rebuild_tensor_v2`."""
        if not isinstance(storage, Opaque):
            raise pickle.UnpicklingError("a tensor of unknown parts")
        if storage.name not in _STORAGES:
            raise pickle.UnpicklingError(
                f"a tensor of {storage.name}, whose dtype MLX does not support"
            )
        return self._tensor(_STORAGES[storage.name], storage, *parts)

    def untyped_tensor(
        self,
        storage: Any,
        offset: Any,
        shape: Any,
        strides: Any,
        grad: Any,
        hooks: Any,
        dtype: Any,
        metadata: Any = None,
    ) -> Array:
        """Replaces `torch._utils._rebuild_tensor_v3`."""
        if dtype.name not in _DTYPES:
            raise pickle.UnpicklingError(
                f"a tensor of {dtype.name}, a dtype that MLX does not support"
            )
        code = _DTYPES[dtype.name]
        return self._tensor(
            code, storage, offset, shape, strides, grad, hooks, metadata
        )

    def _tensor(
        self,
        code: str,
        storage: Opaque,
        offset: Any,
        shape: Any,
        strides: Any,
        grad: Any = None,
        hooks: Any = None,
        metadata: Any = None,
    ) -> Array:
        view = _view(self._values(storage, code), offset, shape, strides)
        self.left -= view.nbytes
        if self.left < 0:
            raise pickle.UnpicklingError(
                f"tensors that are over {_MAX_SHARING} times as large as the file; "
                "they share storages, save them as copies"
            )
        array = mx.array(to_contiguous(view))
        if code == "bf16":
            array = array.view(mx.bfloat16)
        # PyTorch's lazy negation and conjugation.
        flags = metadata if isinstance(metadata, dict) else {}
        if flags.get("conj"):
            array = mx.conjugate(array)
        if flags.get("neg"):
            array = -array
        self.arrays.append(array)
        return array

    def _values(self, storage: Opaque, code: str) -> NDArray[Any]:
        key, count = storage.args or (None, None)
        if (key, code) not in self.storages:
            dtype = np.dtype("u2" if code == "bf16" else code).newbyteorder(self.order)
            content = self.member(f"data/{key}")
            needed = count if storage.name == _UNTYPED else count * dtype.itemsize
            if len(content) != needed:
                raise pickle.UnpicklingError(
                    f"a storage {key} of {len(content)} bytes, not the {needed} of its "
                    f"{count} elements"
                )
            self.storages[key, code] = np.frombuffer(content, dtype)
        return self.storages[key, code]


def _reference(persistent_id: Any) -> Opaque:
    """A storage as its key and number of elements, to be read by a tensor."""
    match persistent_id:
        case ("storage", Opaque(name=name), str(key), str(), int(count)):
            return Opaque(name, (key, count))
    raise pickle.UnpicklingError("a reference to something other than a storage")


def _view(storage: NDArray[Any], offset: Any, shape: Any, strides: Any) -> NDArray[Any]:
    """A tensor as a view of its storage; strides are in elements."""
    if not (_are_counts((offset,)) and _are_counts(shape) and _are_counts(strides)):
        raise pickle.UnpicklingError("a tensor of unknown parts")
    if len(shape) > _MAX_AXES:
        raise pickle.UnpicklingError(f"a tensor of {len(shape)} axes")
    if len(shape) != len(strides):
        raise pickle.UnpicklingError(f"a tensor of {shape} with strides {strides}")
    size = math.prod(shape)
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if size and last >= len(storage):
        raise pickle.UnpicklingError(
            f"a tensor of {shape} that does not fit its storage of {len(storage)}"
        )
    if size > len(storage):
        # With strides of 0 a small file could demand any amount of memory.
        raise pickle.UnpicklingError(
            f"a tensor of {shape}, expanded from {len(storage)} elements; save it "
            "after .contiguous()"
        )
    if max(shape, default=0) >= 2**31:
        raise pickle.UnpicklingError(
            f"a tensor of {shape}, with axes longer than MLX supports"
        )
    strides = tuple(s * storage.itemsize for s in strides) if size else None
    return np.ndarray(
        tuple(shape),
        storage.dtype,
        storage,
        offset * storage.itemsize if size else 0,
        strides,
    )


def _are_counts(values: Any) -> bool:
    return isinstance(values, tuple | list) and all(
        type(v) is int and v >= 0 for v in values
    )


def _first(data: Any, *_: Any) -> Any:
    """The tensor of a `torch.nn.Parameter`."""
    return data
