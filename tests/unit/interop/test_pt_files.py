"""Files of `torch.save`: archives made by hand, so that they run without PyTorch."""

import argparse
import collections
import datetime
import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import PurePosixPath

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import nn
from lucid_fn.interop.torch import Opaque, from_state_dict, load_pt


class Storage:
    """What a test writes in the place of a `torch.FloatStorage`."""

    def __init__(self, kind, key, values):
        self.kind, self.key, self.values = kind, key, values


class Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.parts = (storage, offset, shape, strides, False, OrderedDict())


class Global:
    """Pickled as the name of a global that need not exist."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Pickler(pickle._Pickler):
    """Writes as `torch.save` does."""

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Tensor):
            self.save(Global("torch._utils", "_rebuild_tensor_v2"))
            self.save(obj.parts)
            self.write(pickle.REDUCE)
        elif isinstance(obj, Storage):
            kind = Global("torch", f"{obj.kind}Storage")
            self.save(("storage", kind, obj.key, "cpu", len(obj.values)))
            self.write(pickle.BINPERSID)
        else:
            super().save(obj, save_persistent_id)


def write(path, content, storages=(), *, order="<", method=zipfile.ZIP_STORED, **more):
    stream = io.BytesIO()
    Pickler(stream, 2).dump(content)
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("archive/data.pkl", stream.getvalue())
        for storage in storages:
            values = np.asarray(storage.values)
            values = values.astype(values.dtype.newbyteorder(order))
            archive.writestr(f"archive/data/{storage.key}", values.tobytes())
        for name, text in more.items():
            archive.writestr(f"archive/{name}", text)
    return path


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.pt"


def floats(count=12, key="0"):
    return Storage("Float", key, np.arange(count, dtype=np.float32))


def test_tensors_are_views_of_their_storages(path):
    storage = floats()
    content = OrderedDict(
        whole=Tensor(storage, 0, (3, 4), (4, 1)),
        transposed=Tensor(storage, 0, (4, 3), (1, 4)),
        part=Tensor(storage, 5, (2, 2), (4, 1)),
        scalar=Tensor(storage, 7, (), ()),
        empty=Tensor(storage, 12, (0, 4), (4, 1)),
    )
    loaded = load_pt(write(path, content, [storage]))
    whole = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected = {
        "whole": whole,
        "transposed": whole.T,
        "part": whole[1:, 1:3],
        "scalar": whole[1, 3],
        "empty": whole[:0],
    }
    assert loaded.keys() == expected.keys()
    for name, array in expected.items():
        assert loaded[name].shape == array.shape
        np.testing.assert_array_equal(np.array(loaded[name]), array)


@pytest.mark.parametrize(
    ("kind", "dtype", "expected"),
    [
        ("Float", np.float32, mx.float32),
        ("Double", np.float64, mx.float32),
        ("Half", np.float16, mx.float16),
        ("Long", np.int64, mx.int64),
        ("Int", np.int32, mx.int32),
        ("Short", np.int16, mx.int16),
        ("Char", np.int8, mx.int8),
        ("Byte", np.uint8, mx.uint8),
        ("Bool", np.bool_, mx.bool_),
    ],
)
def test_dtypes_are_kept(path, kind, dtype, expected):
    storage = Storage(kind, "0", np.array([0, 1, 2], dtype))
    loaded = load_pt(write(path, Tensor(storage, 0, (3,), (1,)), [storage]))
    assert loaded.dtype == expected
    np.testing.assert_array_equal(np.array(loaded), storage.values)


def test_bfloat16_is_read_bit_for_bit(path):
    expected = mx.array([1.5, -2.0, 3e38], mx.bfloat16)
    storage = Storage("BFloat16", "0", np.array(expected.view(mx.uint16)))
    loaded = load_pt(write(path, Tensor(storage, 0, (3,), (1,)), [storage]))
    assert loaded.dtype == mx.bfloat16
    assert mx.array_equal(loaded, expected)


def test_the_other_byte_order_is_read(path):
    storage = floats(3)
    write(
        path, Tensor(storage, 0, (3,), (1,)), [storage], order=">", byteorder="big"
    )  # fmt: skip
    assert load_pt(path).tolist() == [0, 1, 2]


def test_checkpoints_with_more_than_tensors_are_read(path):
    storage = floats(2)
    content = {
        "epoch": 3,
        "state_dict": OrderedDict(w=Tensor(storage, 0, (2,), (1,))),
        "betas": (0.9, 0.999),
        "note": None,
    }
    loaded = load_pt(write(path, content, [storage]))
    assert loaded["epoch"] == 3
    assert loaded["betas"] == (0.9, 0.999)
    assert loaded["state_dict"]["w"].tolist() == [0, 1]


@pytest.mark.parametrize("name", [("os", "system"), ("builtins", "eval")])
def test_a_forbidden_global_is_named_and_not_called(path, name):
    write(path, {"a": Global(*name)})
    message = rf"forbidden global {name[0]}\.{name[1]}, which would run code; it was no"
    with pytest.raises(ValueError, match=message):
        load_pt(path)


class Config:
    def __init__(self):
        self.lr = 0.1


OTHERS = {
    "args": argparse.Namespace(lr=0.1),
    "config": Config(),
    "counter": collections.Counter("aab"),
    "lists": collections.defaultdict(list, a=[1]),
    "loss": np.float64(0.5),
    "curve": np.arange(3),
    "path": PurePosixPath("a/b"),
    "day": datetime.date(2020, 1, 2),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_objects_are_kept_as_placeholders(path, name):
    storage = floats(2)
    content = {"w": Tensor(storage, 0, (2,), (1,)), name: OTHERS[name]}
    loaded = load_pt(write(path, content, [storage]))
    assert loaded["w"].tolist() == [0, 1]
    assert isinstance(loaded[name], Opaque)


def test_plain_values_are_kept(path):
    values = {"set": {1, 2}, "frozen": frozenset("a"), "bytes": b"ab", "c": 1 + 2j}
    assert load_pt(write(path, values)) == values


def test_a_whole_model_is_refused_with_what_to_save(path):
    layer = Global("torch.nn.modules.linear", "Linear")
    with pytest.raises(
        ValueError, match=r"object of torch\.nn\.modules\.linear\.Linear; save the stat"
    ):
        load_pt(write(path, layer))


def test_a_model_in_a_checkpoint_is_named_where_it_is_used(path):
    layer = Global("torch.nn.modules.linear", "Linear")
    loaded = load_pt(write(path, {"model": layer}))
    model = nn.linear(2, 1)
    with pytest.raises(
        TypeError, match=r"state_dict must be .*linear\.Linear, not load"
    ):
        from_state_dict(model, loaded["model"])
    with pytest.raises(
        TypeError, match=r"weight must be .*linear\.Linear, not loaded>"
    ):
        from_state_dict(model, {"weight": loaded["model"], "bias": np.ones(1)})


def test_the_format_before_1_6_is_named(path):
    path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + b"\0" * 20)
    with pytest.raises(
        ValueError, match=r"PyTorch before 1\.6; write it anew with tor"
    ):
        load_pt(path)


def test_a_program_of_torch_jit_is_named(path):
    write(path, {}, **{"constants.pkl": ""})
    with pytest.raises(ValueError, match=r"made by torch\.jit; save its state_dict"):
        load_pt(path)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (lambda s: Tensor(s, 0, (13,), (1,)), r"\(13,\) that does not fit its storage"),
        (lambda s: Tensor(s, 9, (2, 2), (4, 1)), "does not fit its storage of 12"),
        (lambda s: Tensor(s, 0, (2,), (-1,)), "a tensor of unknown parts"),
        (lambda s: Tensor(s, 0, (2, 2), (1,)), r"a tensor of \(2, 2\) with strides"),
        (
            lambda s: Tensor(s, 0, (10**12,), (0,)),
            r"expanded from 12 elements; save it",
        ),
        (lambda s: Tensor("text", 0, (1,), (1,)), "a tensor of unknown parts"),
        (lambda s: Tensor(s, 0, (0, 2**31), (1, 1)), "axes are longer than those of"),
        (lambda s: Tensor(s, 0, (1,) * 33, (1,) * 33), "a tensor of 33 axes"),
    ],
)
def test_tensors_beyond_their_storage_are_refused(path, tensor, message):
    storage = floats()
    write(path, tensor(storage), [storage])
    with pytest.raises(ValueError, match=message):
        load_pt(path)


def test_many_tensors_of_one_storage_are_refused(path):
    storage = floats(100_000)
    content = [Tensor(storage, 0, (100_000,), (1,)) for _ in range(30)]
    write(path, content, [storage])
    with pytest.raises(ValueError, match="over 16 times as large as the file; they sh"):
        load_pt(path)


def test_tied_weights_are_read(path):
    storage = floats()
    tied = Tensor(storage, 0, (12,), (1,))
    loaded = load_pt(write(path, {"embedding": tied, "head": tied}, [storage]))
    assert mx.array_equal(loaded["embedding"], loaded["head"])


def test_a_storage_of_another_size_than_it_says_is_refused(path):
    storage = floats()
    write(path, Tensor(storage, 0, (2,), (1,)), [floats(11)])
    with pytest.raises(ValueError, match="a storage 0 of 44 bytes, not the 48 of its"):
        load_pt(path)


def test_a_storage_that_is_not_there_is_an_error(path):
    storage = floats()
    write(path, Tensor(storage, 0, (2,), (1,)))
    with pytest.raises(ValueError, match="holds no data/0: it is damaged"):
        load_pt(path)


def test_compressed_members_are_refused(path):
    # They could be a thousand times as large as the file.
    write(path, b"\0" * 10_000, method=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match=r"data\.pkl compressed, as torch\.save does"):
        load_pt(path)


def test_an_unknown_reference_is_refused(path):
    write(path, {"a": Tensor(Storage("Quantized", "0", [1]), 0, (1,), (1,))})
    with pytest.raises(
        ValueError, match=r"a tensor of torch\.QuantizedStorage, whose d"
    ):
        load_pt(path)


def test_an_opcode_that_asks_for_memory_is_refused(path):
    with zipfile.ZipFile(path, "w") as archive:
        size = struct.pack("<Q", 2**40)
        content = b"\x80\x05" + pickle.BYTEARRAY8 + size + b"."
        archive.writestr("archive/data.pkl", content)
    with pytest.raises(ValueError, match="holds a bytearray that was cut short"):
        load_pt(path)


@pytest.mark.parametrize("keep", [0, 10, 200, -1])
def test_a_file_cut_short_is_an_error(path, keep):
    storage = floats()
    write(path, Tensor(storage, 0, (2,), (1,)), [storage])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="is damaged or not a file of torch"):
        load_pt(path)


def test_an_archive_of_something_else_is_an_error(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ValueError, match=r"no data\.pkl"):
        load_pt(path)


def test_a_file_that_is_not_there_is_an_error(path):
    with pytest.raises(FileNotFoundError, match="load_pt: there is no file"):
        load_pt(path)


def test_a_file_of_any_name_is_read(tmp_path):
    path = tmp_path / os.fsdecode(b"\xff.pt")
    assert load_pt(write(path, {"a": 1})) == {"a": 1}


def test_a_member_cannot_claim_more_bytes_than_the_file_has(path):
    write(path, {"a": 1})
    content = bytearray(path.read_bytes())
    central = content.rindex(b"PK\1\2")
    for place in (central + 20, central + 24):  # both sizes
        content[place : place + 4] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"holds data\.pkl compressed|is damaged"):
        load_pt(path)
