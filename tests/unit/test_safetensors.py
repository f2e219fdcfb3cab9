"""The safetensors format: what is written comes back, all else is refused by name."""

import json
import struct

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import safetensors


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.safetensors"


def write(path, header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def read(path):
    return safetensors.read(path, caller="test")


def entry(dtype="F32", shape=(2,), begin=0, end=8, **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end], **more}


DTYPES = {
    "BOOL": mx.bool_, "U8": mx.uint8, "I8": mx.int8, "U16": mx.uint16,
    "I16": mx.int16, "F16": mx.float16, "BF16": mx.bfloat16, "U32": mx.uint32,
    "I32": mx.int32, "F32": mx.float32, "U64": mx.uint64, "I64": mx.int64,
    "C64": mx.complex64,
}  # fmt: skip


@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 3), (4, 0, 2), (1, 1, 1)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_come_back_bit_for_bit(path, dtype, shape):
    size = int(np.prod(shape))
    array = (mx.arange(size) % 2).astype(DTYPES[dtype]).reshape(shape)
    safetensors.write(path, {"a": array}, {}, caller="test")
    found, metadata = read(path)
    assert metadata == {}
    assert found["a"].dtype == array.dtype and found["a"].shape == array.shape
    assert mx.array_equal(found["a"], array)
    assert mx.load(str(path))["a"].dtype == array.dtype  # MLX's reader agrees


def test_float64_comes_back_bit_for_bit(path):
    array = np.array([0.1, 1e300, -0.0, np.inf])
    for given in (array, mx.array(array, mx.float64)):
        safetensors.write(path, {"a": given}, {}, caller="test")
        found = read(path)[0]["a"]
        assert found.dtype == mx.float64
        assert np.array(found).tobytes() == array.tobytes()


def test_arrays_of_any_order_in_memory_are_written(path):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    arrays = {
        "transposed": mx.array(x).T,
        "reversed": mx.array(x)[::-1],
        "strided": mx.array(x)[:, ::2],
        "broadcast": mx.broadcast_to(mx.array(x)[:1], (3, 4)),
        "half": mx.array(x).astype(mx.bfloat16).T,
        "numpy reversed": x[:, ::-1],
        "numpy swapped": x.astype(">f4"),
        "numpy Fortran": np.asfortranarray(x),
    }
    safetensors.write(path, arrays, {}, caller="test")
    found, _ = read(path)
    for name, array in arrays.items():
        np.testing.assert_array_equal(
            np.array(found[name].astype(mx.float32)),
            np.array(mx.array(array).astype(mx.float32))
            if isinstance(array, mx.array)
            else array,
        )


def test_metadata_come_back(path):
    metadata = {"format": "pt", "note": 'Ünï "code" \n'}
    safetensors.write(path, {}, metadata, caller="test")
    assert read(path) == ({}, metadata)


def test_wide_items_are_aligned(path):
    arrays = {"a": mx.ones(3, mx.uint8), "b": mx.ones(1, mx.int64), "c": mx.ones(1)}
    safetensors.write(path, arrays, {"x": "y"}, caller="test")
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0
    assert [header[name]["data_offsets"][0] for name in "bca"] == [0, 8, 12]


def test_files_of_other_writers_are_read(path):
    # No padding of the header, no order of names, a name that needs escapes.
    write(
        path,
        {"b": entry(begin=8, end=16), 'a"\n': entry(), "c": entry(shape=(), end=4)}
        | {"c": entry(shape=(), begin=16, end=20)},
        np.arange(5, dtype="<f4").tobytes(),
    )
    found, _ = read(path)
    assert found['a"\n'].tolist() == [0, 1]
    assert found["b"].tolist() == [2, 3] and found["c"].item() == 4
    mx.save_safetensors(str(path), {"x": mx.ones((2, 3))}, {"m": "n"})
    found, metadata = read(path)
    assert found["x"].shape == (2, 3) and metadata["m"] == "n"
    mx.save_safetensors(str(path), {"x": mx.ones((2, 3))})  # "__metadata__":null
    assert read(path)[1] == {}


SHAPES = {
    "a negative size": ([-2], "integers from 0 to"),
    "two negative sizes": ([-2, -1], "integers from 0 to"),
    "a size of 2^32 + 2": ([2**32 + 2], "integers from 0 to"),
    "a size of 2^31": ([2**31], "integers from 0 to"),
    "a fraction": ([2.0], "integers from 0 to"),
    "a bool": ([2, True], "integers from 0 to"),
    "a text": (["2"], "integers from 0 to"),
    "a list": ([[2]], "integers from 0 to"),
    "null": ([None], "integers from 0 to"),
    "a huge number": ([10**400], "integers from 0 to"),
    "no data": ([65536] * 4, "takes 73786976294838206464 bytes, got"),
    "a product that wraps to the right size": ([2**30, 2**30, 16], "takes"),
    "many axes": ([1] * 100_000, "at most 32 axes, got 100000"),
    "too few": ([1], "takes 4 bytes, got data_offsets"),
    "too many": ([3], "takes 12 bytes, got data_offsets"),
}


@pytest.mark.parametrize("case", SHAPES)
def test_impossible_shapes_are_refused(path, case):
    shape, message = SHAPES[case]
    write(path, {"odd": entry(shape=shape)}, bytes(8))
    with pytest.raises(ValueError, match=rf"^test: {path} .*: odd: .*{message}"):
        read(path)


OTHERS = {
    "a text as an entry": ({"odd": "text"}, "odd: must have a dtype, a shape and"),
    "a list as an entry": ({"odd": []}, "odd: must have a dtype, a shape and"),
    "no shape": ({"odd": {"dtype": "F32", "data_offsets": [0, 8]}}, "odd: must have a"),
    "a number as dtype": ({"odd": entry(4)}, "odd: must have a dtype, a shape and"),
    "huge strides of nothing": (
        {"odd": entry("F64", (0, 2**31 - 1, 2**30), 0, 0)}, "odd: must have strides"
    ),
    "one offset": (
        {"odd": {**entry(), "data_offsets": [0]}}, "odd: must have a dtype, a shape"
    ),
    "negative offsets": (
        {"odd": entry(begin=-8, end=0)}, "odd: data_offsets must be two integers from 0"
    ),
    "offsets of fractions": (
        {"odd": entry(begin=0.0, end=8.0)}, "odd: data_offsets must be two integers"
    ),
    "offsets of bools": (
        {"odd": entry("U8", (1,), False, True)}, "odd: data_offsets must be two integ"
    ),
    "offsets backwards": ({"odd": entry(begin=8, end=0)}, r"odd: .*got data_offsets"),
    "offsets past the end": (
        {"odd": entry(shape=(4,), end=16)}, "the end of the file: begins at byte 8"
    ),
    "a gap in front": (
        {"odd": entry("F32", (1,), 4, 8)}, "odd: begins at byte 4 .* a gap after the he"
    ),
    "a gap between": (
        {"a": entry("U8", (2,), 0, 2), "odd": entry("U8", (5,), 3, 8)},
        "odd: begins at byte 3 of the data and leaves a gap after a, which ends at 2",
    ),
    "an overlap": (
        {"a": entry("U8", (5,), 0, 5), "odd": entry("U8", (4,), 4, 8)},
        "odd: begins at byte 4 of the data and overlaps a, which ends at 5",
    ),
    "the same place twice": (
        {"a": entry(), "odd": entry()}, "odd: begins at byte 0 of the data and overlaps"
    ),
    "trailing data": (
        {"odd": entry("U8", (7,), 0, 7)},
        "the end of the file: begins at byte 8 of the data and leaves a gap after odd",
    ),
    "metadata of numbers": ({"__metadata__": {"a": 1}}, "__metadata__ must hold str"),
    "metadata of lists": ({"__metadata__": []}, "__metadata__ must hold strings"),
    "half of a surrogate pair": ({"\ud800": entry()}, ".*a name of Unicode char"),
    "a name twice": (
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
        b'"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}',
        "its header holds 'a' twice",
    ),
    "a field twice": (
        b'{"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}}',
        "its header holds 'shape' twice",
    ),
    "another encoding": (b'{"\xff": 1}', "its header is not UTF-8"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "its header must begin with {"),
    "a list": (b"[1]", "its header must begin with {"),
    "no JSON": (b"{]", "its header is not JSON"),
    "two objects": (b"{}{}", "its header is not JSON"),
    "nothing": (b"", "its header must begin with {"),
    "NaN": (b'{"a": NaN}', "a: must have a dtype"),
    "a deep nest": (b'{"a":' + b"[" * 200_000, "its header is nested too deeply"),
    "a number of a million digits": (b'{"a":' + b"1" * 1_000_000 + b"}", ".*digits"),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_damaged_headers_are_refused(path, case):
    header, message = OTHERS[case]
    write(path, header, bytes(8))
    with pytest.raises(ValueError, match=rf"^test: {path} is damaged, .*: {message}"):
        read(path)


@pytest.mark.parametrize(
    "dtype", ["F8_E4M3", "F8_E5M2", "F8_E8M0", "F4", "U128", "f32", "", "F32 "]
)
def test_dtypes_that_mlx_has_not_are_refused_by_name(path, dtype):
    write(path, {"odd": entry(dtype, (8,))}, bytes(8))
    with pytest.raises(
        ValueError, match=rf"odd: must have a dtype that MLX has, got {dtype}; there"
    ):
        read(path)


def test_bools_must_be_0_or_1(path):
    write(path, {"odd": entry("BOOL", (2,), 0, 2)}, b"\1\2")
    with pytest.raises(ValueError, match="odd: a BOOL must be 0 or 1"):
        read(path)


@pytest.mark.parametrize("length", [1, 2**31, 2**63, 2**64 - 1])
def test_a_header_longer_than_the_file_is_refused(path, length):
    path.write_bytes(struct.pack("<Q", length))
    with pytest.raises(ValueError, match=f"its header would be {length} bytes long"):
        read(path)


def test_an_empty_file_is_refused(path):
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="it has 0 bytes, fewer than the 8"):
        read(path)


@pytest.mark.parametrize("name", [3, "__metadata__", "\udcff"])
def test_names_that_the_format_has_not_are_refused(path, name):
    with pytest.raises(ValueError, match=r"^test: names of arrays must be strings"):
        safetensors.write(path, {name: mx.ones(1)}, {}, caller="test")
    assert not path.exists()


def test_complex128_is_refused(path):
    with pytest.raises(
        TypeError, match=r"^test: a must have a dtype of the format, got"
    ):
        safetensors.write(path, {"a": np.ones(2, complex)}, {}, caller="test")


def test_many_arrays_take_one_evaluation(path, monkeypatch):
    arrays = {f"layer{i}": mx.full((3,), i, mx.bfloat16) + 1 for i in range(500)}
    calls = []
    evaluate = mx.eval
    monkeypatch.setattr(mx, "eval", lambda *x: (calls.append(x), evaluate(*x)))
    safetensors.write(path, arrays, {}, caller="test")
    found, _ = read(path)
    assert len(calls) == 2
    assert all(mx.array_equal(found[name], arrays[name]) for name in arrays)


def damaged(rng, content):
    """The file with bits flipped, cut off, repeated, or its header edited."""
    content = bytearray(content)
    match rng.integers(5):
        case 0:
            for _ in range(rng.integers(1, 4)):
                content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        case 1:
            del content[rng.integers(len(content)) :]
        case 2:
            begin = rng.integers(len(content))
            del content[begin : begin + rng.integers(1, 9)]
        case 3:
            begin = rng.integers(len(content))
            content[begin:begin] = content[: rng.integers(1, 9)]
        case 4:  # one character of the header's text for another one
            length = int.from_bytes(content[:8], "little")
            place = 8 + rng.integers(length)
            content[place] = rng.choice(list(b'0123456789-.eE,:[]{}" FIU'))
    return bytes(content)


def test_damaged_files_are_refused_or_hold_what_they_say(path):
    arrays = {
        "weight": mx.arange(6, dtype=mx.float32).reshape(2, 3),
        "half": mx.ones((2,), mx.bfloat16),
        "count": mx.array(3),
        "flags": mx.array([True, False]),
        "none": mx.zeros((0, 4)),
    }
    safetensors.write(path, arrays, {"format": "pt"}, caller="test")
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(1500):
        variant = damaged(rng, content)
        path.write_bytes(variant)
        try:
            found, _ = read(path)
        except ValueError as error:
            assert str(error).startswith(f"test: {path} is damaged, cut short or not")
            refused += 1
            continue
        # What was read has the bytes of the file, each of them once.
        length = int.from_bytes(variant[:8], "little")
        header = json.loads(variant[8 : 8 + length])
        header.pop("__metadata__", None)
        assert header.keys() == found.keys()
        assert sum(x.nbytes for x in found.values()) == len(variant) - 8 - length
        for name, fields in header.items():
            begin, end = fields["data_offsets"]
            assert list(found[name].shape) == fields["shape"]
            assert found[name].dtype == DTYPES[fields["dtype"]]
            stored = np.array(found[name].reshape(-1).view(mx.uint8)).tobytes()
            assert stored == variant[8 + length :][begin:end]
    assert refused > 800
