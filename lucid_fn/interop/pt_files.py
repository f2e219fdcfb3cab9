"""The files that `torch.save` writes, read without PyTorch and without running code.

Such a file is a zip archive of a pickle, `data.pkl`, and of storages, `data/0`, ... A
pickle is a program: its globals name functions that the reader calls. Here the few that
tensors are made of are replaced by our own, and all others are refused.
"""

import io
import math
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lucid_fn.types import Array

_DTYPES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "bf16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
# Tensors may share a storage, so a small file could ask for any amount of memory.
_MOST_SHARED = 16
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


class _StorageType(NamedTuple):
    """Stands for a class such as `torch.FloatStorage`."""

    dtype: str


class _Dict(dict[Any, Any]):
    """Stands for an `OrderedDict`, whose attributes are of no use here."""

    def __setstate__(self, state: Any) -> None:
        """The versions of a model's modules."""


def load_pt(path: str | Path) -> Any:
    """What `torch.save` wrote to a `.pt` or `.pth` file, tensors as MLX arrays.

    PyTorch is not needed, and no code of the file is run: tensors, numbers, strings
    and containers are read, and a file with anything else is refused. float64 becomes
    float32.

    Args:
        path: the file. A checkpoint is often a dict with the `state_dict` in it: the
            keys say where.

    Returns:
        What is in the file: for a model a `state_dict`, arrays by name.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged, written by `torch.save` before version 1.6,
            a program made by `torch.jit`, or asks for a global that is not needed for
            tensors, such as the class of a whole model.

    Example:
        >>> from lucid_fn import interop, models
        >>> state_dict = interop.torch.load_pt("lenet.pt")  # doctest: +SKIP
        >>> params, state = interop.torch.from_state_dict(
        ...     models.lenet5(), state_dict
        ... )  # doctest: +SKIP
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"load_pt: there is no file {path}")
    with path.open("rb") as file:
        if file.read(len(_LEGACY)) == _LEGACY:
            raise ValueError(
                f"load_pt: {path} must be a zip archive, got the format of PyTorch "
                "before 1.6; write it anew with torch.save(torch.load(path), path)"
            )
    try:
        with zipfile.ZipFile(path) as archive:
            return _Reader(archive).load()
    except pickle.UnpicklingError as error:
        raise ValueError(f"load_pt: {path} holds {error}") from error
    except zipfile.BadZipFile as error:
        raise ValueError(
            f"load_pt: {path} is damaged or not a file of torch.save: {error}"
        ) from error
    except Exception as error:  # whatever the opcodes of a damaged pickle fail with
        reason = f"{type(error).__name__} {error}".strip()
        raise ValueError(f"load_pt: {path} is damaged ({reason})") from error


class _Reader:
    """One archive, with the storages that were read from it."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        pickles = [n for n in archive.namelist() if n.count("/") == 1]
        pickles = [name for name in pickles if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise pickle.UnpicklingError("no data.pkl, as files of torch.save have")
        self.pickle = pickles[0]
        self.folder = self.pickle.removesuffix("data.pkl")
        if f"{self.folder}constants.pkl" in archive.namelist():
            raise pickle.UnpicklingError(
                "a program made by torch.jit; save its state_dict instead"
            )
        order = self.folder + "byteorder"
        big = order in archive.namelist() and self.member(order) == b"big"
        self.order: Literal["<", ">"] = ">" if big else "<"
        self.storages: dict[str, NDArray[Any]] = {}
        files = sum(info.file_size for info in archive.infolist())
        self.left = _MOST_SHARED * files + 2**20

    def load(self) -> Any:
        names = {
            **_GLOBALS,
            ("torch._utils", "_rebuild_tensor_v2"): self.tensor,
        }
        return _Unpickler(self.member(self.pickle), names, self.storage).load()

    def tensor(
        self, storage: Any, offset: Any, shape: Any, strides: Any, *_: Any
    ) -> Array:
        view = _view(storage, offset, shape, strides)
        self.left -= view.nbytes
        if self.left < 0:
            raise pickle.UnpicklingError(
                f"tensors that are over {_MOST_SHARED} times as large as the file; "
                "they share storages, save them as copies"
            )
        # No other storage has 16 unsigned bits.
        array = mx.array(np.ascontiguousarray(view).reshape(view.shape))
        return array.view(mx.bfloat16) if view.dtype == np.uint16 else array

    def member(self, name: str) -> bytes:
        """A file of the archive, which torch.save does not compress.

        So nothing can be larger than the archive is.
        """
        if self.archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
            raise pickle.UnpicklingError(
                f"{name} compressed, as torch.save does not write it"
            )
        return self.archive.read(name)

    def storage(self, persistent_id: Any) -> NDArray[Any]:
        match persistent_id:
            case ("storage", _StorageType(dtype), str(key), str(), int(count)):
                pass
            case _:
                raise pickle.UnpicklingError(f"an unknown reference {persistent_id!r}")
        if key not in self.storages:
            kind = np.dtype("u2" if dtype == "bf16" else dtype).newbyteorder(self.order)
            content = self.member(f"{self.folder}data/{key}")
            if len(content) != count * kind.itemsize:
                raise pickle.UnpicklingError(
                    f"a storage {key} of {len(content)} bytes, not the "
                    f"{count * kind.itemsize} of its {count} elements"
                )
            values = np.frombuffer(content, kind)
            values = values.astype(kind.newbyteorder("="))
            self.storages[key] = values.astype("f4") if dtype == "f8" else values
        return self.storages[key]


def _view(storage: Any, offset: Any, shape: Any, strides: Any) -> NDArray[Any]:
    """A tensor as a view of its storage, by strides in elements."""
    if not isinstance(storage, np.ndarray) or not (
        _are_counts((offset,)) and _are_counts(shape) and _are_counts(strides)
    ):
        raise pickle.UnpicklingError("a tensor of unknown parts")
    if len(shape) != len(strides):
        raise pickle.UnpicklingError(f"a tensor of {shape} with strides {strides}")
    size = math.prod(shape)
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if size and last >= len(storage):
        raise pickle.UnpicklingError(
            f"a tensor of {shape} that does not fit its storage of {len(storage)}"
        )
    if size > len(storage):
        # By strides of 0 a small file could ask for any amount of memory.
        raise pickle.UnpicklingError(
            f"a tensor of {shape}, expanded from {len(storage)} elements; save it "
            "after .contiguous()"
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


def _rebuild_parameter(data: Any, *_: Any) -> Any:
    """A `torch.nn.Parameter`, which is a tensor here."""
    return data


_GLOBALS: dict[tuple[str, str], Callable[..., Any] | _StorageType] = {
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): tuple,
    ("collections", "OrderedDict"): _Dict,
    **{("torch", name): _StorageType(dtype) for name, dtype in _DTYPES.items()},
}


class _Unpickler(pickle._Unpickler):
    # The implementation in Python: that in C makes room for as many objects as an
    # opcode asks for. The opcode that does so here is taken out.
    dispatch: ClassVar = {
        code: load
        for code, load in pickle._Unpickler.dispatch.items()
        if code != pickle.BYTEARRAY8[0]
    }

    def __init__(
        self,
        content: bytes,
        names: dict[tuple[str, str], Any],
        storage: Callable[[Any], Any],
    ) -> None:
        super().__init__(io.BytesIO(content))
        self._names = names
        self._storage = storage

    def find_class(self, module: str, name: str, /) -> Any:
        try:
            return self._names[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"the forbidden global {module}.{name}, which would run code; save "
                "the state_dict, not the model"
            ) from None

    def persistent_load(self, pid: Any) -> Any:
        return self._storage(pid)
