"""`batches`: contents, order, length, and errors."""

from typing import NamedTuple

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import data

X, Y = np.arange(20, dtype=np.float32).reshape(10, 2), np.arange(10)


def labels(batches):
    return [y.tolist() for _, y in batches]


def test_without_a_seed_the_order_is_kept_and_the_last_batch_is_partial():
    assert labels(data.batches((X, Y), 4)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_drop_last_leaves_out_the_partial_batch():
    batches = data.batches((X, Y), 4, drop_last=True)
    assert labels(batches) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert len(batches) == 2


def test_the_length_is_the_number_of_batches():
    assert len(data.batches((X, Y), 4)) == 3
    assert len(data.batches((X, Y), 5)) == len(data.batches((X, Y), 5, drop_last=True))


def test_arrays_shuffle_together():
    for x, y in data.batches((X, Y), 3, seed=1):
        np.testing.assert_array_equal(np.array(x)[:, 0], 2 * np.array(y))


def test_the_order_of_a_seed_is_that_of_numpy_pcg64():
    order = np.random.Generator(np.random.PCG64(7)).permutation(10).tolist()
    found = labels(data.batches((X, Y), 4, seed=7))
    assert [label for batch in found for label in batch] == order


def test_iterating_again_gives_the_same_order():
    batches = data.batches((X, Y), 4, seed=3)
    assert labels(batches) == labels(batches)


def test_the_epoch_in_the_seed_changes_the_order():
    first, second = (labels(data.batches((X, Y), 4, seed=(3, e))) for e in (0, 1))
    assert first != second
    assert second == labels(data.batches((X, Y), 4, seed=(3, 1)))


def test_two_iterations_at_once_do_not_disturb_each_other():
    batches = data.batches((X, Y), 4, seed=0)
    for (_, a), (_, b) in zip(batches, batches, strict=True):
        assert a.tolist() == b.tolist()


def test_mlx_arrays_batch_as_numpy_ones():
    expected = labels(data.batches((X, Y), 4, seed=2))
    assert labels(data.batches((mx.array(X), mx.array(Y)), 4, seed=2)) == expected


class Example(NamedTuple):
    x: np.ndarray
    y: np.ndarray


@pytest.mark.parametrize(
    "arrays", [{"b": Y, "a": X}, Example(X, Y), [X, {"y": (Y,)}], X]
)
def test_batches_have_the_structure_of_the_arrays(arrays):
    batch = next(iter(data.batches(arrays, 4)))
    assert type(batch) in (type(arrays), mx.array)
    if isinstance(arrays, dict):
        assert batch["a"].shape == (4, 2) and batch["b"].tolist() == [0, 1, 2, 3]
    elif isinstance(arrays, list):
        assert batch[1]["y"][0].tolist() == [0, 1, 2, 3]
    else:
        x = batch if isinstance(batch, mx.array) else batch.x
        np.testing.assert_array_equal(np.array(x), X[:4])


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (np.uint8, mx.uint8),
        (np.int32, mx.int32),
        (np.int64, mx.int64),
        (np.float16, mx.float16),
        (np.float32, mx.float32),
        (np.float64, mx.float32),
        (np.bool_, mx.bool_),
    ],
)
def test_dtypes_are_kept_but_float64(dtype, expected):
    (batch,) = data.batches(X.astype(dtype), 10)
    assert batch.dtype == expected


def test_a_batch_is_a_copy():
    x = X.copy()
    batch = next(iter(data.batches(x, 2)))
    x[:] = -1
    np.testing.assert_array_equal(np.array(batch), X[:2])


def test_unequal_lengths_are_named():
    with pytest.raises(
        ValueError, match=r"got 10 rows in arrays\.0 and 9 in arrays\.1"
    ):
        data.batches((X, Y[:9]), 4)


@pytest.mark.parametrize("arrays", [X[:0], np.ones(()), mx.array(1.0)])
def test_an_empty_or_scalar_array_is_an_error(arrays):
    with pytest.raises(
        ValueError, match="arrays must have at least one row, got shape"
    ):
        data.batches(arrays, 4)


def test_a_tree_without_arrays_is_an_error():
    with pytest.raises(ValueError, match=r"arrays must hold an array, got \(\)"):
        data.batches((), 4)


def test_lists_of_numbers_are_refused():
    with pytest.raises(
        TypeError, match=r"arrays\.1\.0 must be a NumPy or MLX array, got int; convert"
    ):
        data.batches((X, [1, 2, 3]), 4)


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x[:, ::-1],
        lambda x: x[::-1],
        lambda x: x[::2, 1:],
        np.asfortranarray,
        lambda x: x.astype(">f4"),
        lambda x: np.broadcast_to(x[:1], x.shape),
        lambda x: np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
    ],
)
@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_views_of_any_order_in_memory_batch_as_their_copies(view, seed, batch_size):
    expected = data.batches(
        view(X).astype(np.float32, order="C"), batch_size, seed=seed
    )
    found = data.batches(view(X), batch_size, seed=seed)
    for a, b in zip(found, expected, strict=True):
        assert a.tolist() == b.tolist()


def test_masked_arrays_are_refused():
    with pytest.raises(TypeError, match=r"arrays\.0 must be an array without a mask"):
        data.batches((np.ma.masked_array(X, X > 3), Y), 4)


@pytest.mark.parametrize("dtype", ["U1", "f4,i4", object])
def test_dtypes_that_mlx_cannot_hold_are_refused(dtype):
    with pytest.raises(TypeError, match="arrays must have a dtype that MLX can hold"):
        data.batches(np.zeros(2, dtype), 1)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_the_batch_size_must_be_positive(batch_size):
    with pytest.raises(ValueError, match=f"at least 1, got {batch_size}"):
        data.batches(X, batch_size)


@pytest.mark.parametrize("batch_size", [2.0, "8", None, True, Y])
def test_the_batch_size_must_be_an_integer(batch_size):
    with pytest.raises(TypeError, match="batch_size must be an integer, got"):
        data.batches(X, batch_size)


def test_dropping_the_only_batch_is_an_error():
    with pytest.raises(ValueError, match=r"at most 10, .* got 11: no batch"):
        data.batches(X, 11, drop_last=True)
    assert len(data.batches(X, 11)) == 1


@pytest.mark.parametrize("seed", [1.0, "1", True, (1, 2.0), [1, 2], mx.array([0, 1])])
def test_the_seed_must_be_integers(seed):
    with pytest.raises(TypeError, match="seed must be an integer, a tuple of"):
        data.batches(X, 4, seed=seed)


@pytest.mark.parametrize("seed", [-1, (0, -1)])
def test_the_seed_must_not_be_negative(seed):
    with pytest.raises(ValueError, match="seed must be at least 0, got -1"):
        data.batches(X, 4, seed=seed)


def test_numpy_integers_are_integers():
    batches = data.batches((X, Y), np.int64(4), seed=(np.int64(3), np.uint8(1)))
    assert labels(batches) == labels(data.batches((X, Y), 4, seed=(3, 1)))


def test_skipped_batches_are_left_out():
    batches = data.batches((np.arange(7),), 2, seed=3)
    every = [x.tolist() for (x,) in batches]
    for count in range(5):
        assert [x.tolist() for (x,) in batches.skip(count)] == every[count:]
    with pytest.raises(ValueError, match=r"batches\.skip: count must be at least 0"):
        next(batches.skip(-1))
