"""NumPy arrays of every order in memory reach MLX with their values."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn.numpy_arrays import from_numpy

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def unaligned(x):
    return (
        np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(x.dtype).reshape(x.shape)
    )


def field(x):
    """A field of a structured array: strides that are no multiples of the item."""
    records = np.zeros(x.shape, [("flag", "i1"), ("value", x.dtype)])
    records["value"] = x
    return records["value"]


class Subclass(np.ndarray):
    pass


ORDERS = {
    "C": lambda x: x,
    "Fortran": np.asfortranarray,
    "transposed": lambda x: x.T.copy().T,
    "reversed last": lambda x: x[..., ::-1].copy()[..., ::-1],
    "reversed first": lambda x: x[::-1].copy()[::-1],
    "reversed one": lambda x: x[:1][::-1],
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "broadcast": lambda x: np.broadcast_to(x[:1], x.shape),
    "read-only": read_only,
    "unaligned": unaligned,
    "field": field,
    "big endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
    "little endian": lambda x: x.astype(x.dtype.newbyteorder("<")),
    "big endian reversed": lambda x: x.astype(x.dtype.newbyteorder(">"))[:, ::-1],
    "subclass": lambda x: x.view(Subclass),
    "empty reversed": lambda x: x[:0][::-1],
    "empty axis": lambda x: x[:, :0, ::-1],
    "scalar": lambda x: x[1, 2, 3],
    "0 axes": lambda x: x[1, 2, 3, ...],
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", ["f4", "f2", "f8", "i8", "u1", "?", "c8"])
def test_every_order_in_memory_has_its_values(order, dtype):
    array = ORDERS[order](X.astype(dtype))
    found = from_numpy("test", "x", array)
    assert found.shape == array.shape
    np.testing.assert_array_equal(np.array(found), array)


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("?", mx.bool_), ("u1", mx.uint8), ("i1", mx.int8), ("u2", mx.uint16),
        ("i2", mx.int16), ("u4", mx.uint32), ("i4", mx.int32), ("u8", mx.uint64),
        ("i8", mx.int64), ("f2", mx.float16), ("f4", mx.float32), ("f8", mx.float32),
        ("c8", mx.complex64), ("c16", mx.complex64),
        ("g", mx.float32), ("G", mx.complex64),
        (np.longlong, mx.int64), (np.ulonglong, mx.uint64),
    ],
)  # fmt: skip
def test_dtypes_are_those_of_mlx(dtype, expected):
    assert from_numpy("test", "x", np.ones(2, dtype)).dtype == expected


def test_bfloat16_of_ml_dtypes_is_taken_bit_for_bit():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.array([1.5, -3e38], ml_dtypes.bfloat16)[::-1]
    found = from_numpy("test", "x", array)
    assert found.dtype == mx.bfloat16
    np.testing.assert_array_equal(
        np.array(found.view(mx.uint16)), array.view(np.uint16)
    )


def test_the_result_is_a_copy():
    array = X.copy()
    found = from_numpy("test", "x", array)
    array[:] = -1
    np.testing.assert_array_equal(np.array(found), X)


@pytest.mark.parametrize("dtype", ["O", "U3", "S3", "V4", "M8[D]", "m8[s]", "f4,i4"])
def test_other_dtypes_are_refused_by_name(dtype):
    array = np.zeros(2, dtype)
    with pytest.raises(
        TypeError, match=r"^test: x must have a dtype that MLX can hold"
    ):
        from_numpy("test", "x", array)


def test_float8_of_ml_dtypes_is_refused_by_name():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    with pytest.raises(TypeError, match=r"got float8_e4m3fn; convert it with astype"):
        from_numpy("test", "x", np.zeros(2, ml_dtypes.float8_e4m3fn))


def test_masked_arrays_are_refused_since_the_mask_would_be_lost():
    with pytest.raises(TypeError, match=r"without a mask, .* \.filled\(value\)"):
        from_numpy("test", "x", np.ma.masked_array([1.0, 2.0], [False, True]))


def test_an_axis_that_mlx_cannot_count_is_refused():
    array = np.broadcast_to(np.uint8(0), (2**31,))
    with pytest.raises(ValueError, match=r"axes of at most 2147483647 entries, got sh"):
        from_numpy("test", "x", array)


@pytest.mark.parametrize("value", [[1, 2], 3, None, "text"])
def test_other_things_than_arrays_are_refused(value):
    with pytest.raises(
        TypeError, match=r"x must be a NumPy or MLX array, got .*asarray"
    ):
        from_numpy("test", "x", value)
