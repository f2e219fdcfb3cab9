"""Laws of `batches`, and of the readers of data sets under damage."""

import gzip
import io
import pickle
import struct

import mlx.core as mx
import numpy as np
from hypothesis import given, strategies as st

from lucid_fn import data
from lucid_fn.data.files import read_file
from lucid_fn.data.idx import parse_idx
from lucid_fn.data.numpy_pickle import bytes_array
from lucid_fn.io import Opaque, unpickle

sizes = st.integers(1, 50)
seeds = st.none() | st.integers(0, 2**64) | st.tuples(st.integers(0, 9), st.just(1))


@given(size=sizes, batch_size=sizes, seed=seeds)
def test_each_row_comes_once(size, batch_size, seed):
    batches = data.batches(np.arange(size), batch_size, seed=seed)
    rows = mx.concatenate(list(batches)).tolist()
    assert sorted(rows) == list(range(size))


@given(size=sizes, batch_size=sizes, seed=seeds)
def test_all_batches_but_the_last_are_full(size, batch_size, seed):
    lengths = [len(x) for x in data.batches(np.zeros(size), batch_size, seed=seed)]
    assert lengths[:-1] == [batch_size] * (len(lengths) - 1)
    assert 1 <= lengths[-1] <= batch_size


@given(size=sizes, batch_size=sizes, seed=seeds)
def test_the_length_is_the_number_of_batches(size, batch_size, seed):
    batches = data.batches(np.zeros(size), batch_size, seed=seed)
    assert len(batches) == len(list(batches))


@given(size=sizes, batch_size=sizes, seed=seeds)
def test_drop_last_leaves_the_full_batches_as_they_are(size, batch_size, seed):
    x, batch_size = np.arange(size), min(batch_size, size)
    kept = [b.tolist() for b in data.batches(x, batch_size, seed=seed, drop_last=True)]
    every = [b.tolist() for b in data.batches(x, batch_size, seed=seed)]
    assert kept == [batch for batch in every if len(batch) == batch_size]


@given(size=sizes, batch_size=sizes, other=sizes, seed=seeds)
def test_the_order_does_not_depend_on_the_batch_size(size, batch_size, other, seed):
    x = np.arange(size)
    a, b = (
        mx.concatenate(list(data.batches(x, n, seed=seed))).tolist()
        for n in (batch_size, other)
    )
    assert a == b


LABELS = np.arange(9, dtype=np.uint8)
IDX = struct.pack(">HBBI", 0, 8, 1, 9) + LABELS.tobytes()


damage = {
    "flips": st.lists(st.tuples(st.integers(0, 999), st.integers(1, 255)), max_size=3),
    "cut": st.integers(0, 99),
    "tail": st.binary(max_size=4),
}


def damaged(content, flips, cut, tail):
    """`content` with some bytes changed, some cut off, and some added."""
    out = bytearray(content)
    for place, mask in flips:
        out[place % len(out)] ^= mask
    return bytes(out[: len(out) - cut % len(out)]) + tail


@given(**damage)
def test_a_damaged_idx_file_is_a_value_error_or_what_its_header_says(flips, cut, tail):
    content = damaged(IDX, flips, cut, tail)
    try:
        array = parse_idx(io.BytesIO(content), (None,), where="test")
    except ValueError:
        assert content != IDX
    else:
        assert struct.pack(">HBBI", 0, 8, 1, len(array)) + array.tobytes() == content


@given(**damage)
def test_damaged_gzip_is_a_value_error_or_the_same_content(
    tmp_path_factory, flips, cut, tail
):
    path = tmp_path_factory.mktemp("gzip") / "labels.gz"
    path.write_bytes(damaged(gzip.compress(IDX, mtime=0), flips, cut, tail))
    try:
        content = read_file(path, "test", limit=1000)
    except ValueError:
        assert flips or cut or tail
    else:
        assert content == IDX


PICKLE = pickle.dumps({b"data": LABELS.reshape(3, 3), b"labels": [1, 2, 3]}, protocol=2)


@given(**damage)
def test_a_damaged_pickle_is_a_value_error_or_a_whole_object(flips, cut, tail):
    try:
        found = unpickle(damaged(PICKLE, flips, cut, tail))
        if isinstance(found, dict) and isinstance(found.get(b"data"), Opaque):
            assert bytes_array(found[b"data"]).size == LABELS.size
    except ValueError:
        assert flips or cut


@given(content=st.binary(max_size=60))
def test_random_bytes_as_a_pickle_are_a_value_error_or_builtin_objects(content):
    try:
        found = unpickle(content)
    except ValueError:
        return
    assert type(found).__module__ == "builtins" or isinstance(found, Opaque)
