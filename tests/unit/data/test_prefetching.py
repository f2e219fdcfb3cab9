"""`prefetch`: the same items, one thread, and an end in every case."""

import itertools
import threading
import traceback

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import data


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_items_come_unchanged_and_in_order():
    assert list(data.prefetch(range(100))) == list(range(100))


def test_an_empty_iterable_gives_nothing():
    assert list(data.prefetch(())) == []


def test_batches_are_those_of_the_wrapped_iterable():
    x, y = np.arange(40.0).reshape(20, 2), np.arange(20)
    batches = data.batches((x, y), 6, seed=1)
    for a, b in zip(data.prefetch(batches), batches, strict=True):
        assert mx.array_equal(a[0], b[0]) and mx.array_equal(a[1], b[1])


def test_batches_of_mlx_arrays_that_are_not_computed_yet_come_through():
    x = mx.arange(20) * 2
    batches = data.prefetch(data.batches(x, 6, seed=1))
    assert sorted(mx.concatenate(list(batches)).tolist()) == list(range(0, 40, 2))


def test_arrays_computed_on_the_thread_can_be_used_on_this_one():
    def lazy():
        for i in range(5):
            yield {"x": mx.full((3,), i) * 2}

    values = [mx.sum(item["x"] + 1).item() for item in data.prefetch(lazy())]
    assert values == [3 * (2 * i + 1) for i in range(5)]


def test_it_has_the_length_of_what_it_wraps_and_can_be_iterated_over_again():
    batches = data.prefetch(data.batches(np.arange(10), 4))
    assert len(batches) == 3
    assert [x.tolist() for x in batches] == [x.tolist() for x in batches]


def test_without_a_length_len_is_a_type_error():
    with pytest.raises(TypeError, match="has no len"):
        len(data.prefetch(iter([1])))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_no_more_than_size_items_wait(size):
    made = []

    def items():
        for i in range(20):
            made.append(i)
            yield i

    for i in data.prefetch(items(), size):
        assert len(made) <= i + 1 + size


def test_items_are_made_while_the_last_one_is_used():
    second_made = threading.Event()

    def items():
        yield 1
        second_made.set()
        yield 2

    stream = iter(data.prefetch(items()))
    assert next(stream) == 1
    assert second_made.wait(timeout=300)  # not to hang
    assert list(stream) == [2]


def test_the_work_is_done_on_another_thread():
    def items():
        yield threading.get_ident()

    assert list(data.prefetch(items())) != [threading.get_ident()]


def test_an_error_comes_after_the_items_before_it_with_its_traceback():
    def broken_source():
        yield 1
        raise KeyError("lost")

    stream = iter(data.prefetch(broken_source()))
    assert next(stream) == 1
    with pytest.raises(KeyError, match="lost") as caught:
        next(stream)
    frames = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert "broken_source" in frames


def test_an_array_of_this_thread_that_is_not_computed_is_explained():
    lazy = mx.arange(4) * 2
    with pytest.raises(RuntimeError, match="no Stream") as caught:
        list(data.prefetch(lazy + i for i in range(2)))
    assert "was not evaluated before" in caught.value.__notes__[0]


def test_closing_early_ends_the_thread_before_it_returns():
    before = threading.active_count()
    stream = iter(data.prefetch(itertools.count()))
    assert next(stream) == 0
    assert threading.active_count() == before + 1
    stream.close()
    assert threading.active_count() == before


def test_a_break_ends_the_thread_and_closes_the_source():
    closed = threading.Event()

    class Source:
        def __iter__(self):
            try:
                yield from itertools.count()
            finally:
                closed.set()

    for i in data.prefetch(Source()):
        if i == 3:
            break
    assert closed.wait(timeout=300)  # not to hang


def test_an_error_of_the_consumer_ends_the_thread():
    with pytest.raises(ZeroDivisionError):
        for i in data.prefetch(itertools.count()):
            1 / (i - 2)


def test_never_iterating_starts_no_thread():
    before = threading.active_count()
    kept = data.prefetch(itertools.count())
    iterators = [iter(kept), iter(data.prefetch(itertools.count()))]
    assert len(iterators) == 2
    assert threading.active_count() == before


def test_two_iterations_at_once_do_not_disturb_each_other():
    batches = data.prefetch(data.batches(np.arange(10), 3))
    for a, b in zip(batches, batches, strict=True):
        assert a.tolist() == b.tolist()


def test_the_size_must_be_positive():
    with pytest.raises(ValueError, match="size must be at least 1, got 0"):
        data.prefetch([], 0)


def test_the_size_must_be_an_integer():
    with pytest.raises(TypeError, match=r"size must be an integer, got 1\.5"):
        data.prefetch([], 1.5)


def test_a_function_is_not_iterable():
    with pytest.raises(TypeError, match="must be iterable, got function; call a gener"):
        data.prefetch(lambda: [])
