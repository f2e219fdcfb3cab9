"""Shards of a batch on streams of their own."""

import threading

import mlx.core as mx
import pytest

from lucid_fn import ops
from lucid_fn.cpu import runtime
from lucid_fn.cpu.parallel import streams


@pytest.fixture
def three_streams(monkeypatch):
    """Three streams, whatever the machine has."""
    monkeypatch.setattr(streams, "count", lambda: 3)


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_shards_are_the_batch_in_order(three_streams, length):
    x = mx.arange(2 * length).reshape(length, 2)
    shards = streams.map_split(lambda x: x * 2, x)
    assert len(shards) == min(3, length)
    assert mx.array_equal(mx.concatenate(shards), x * 2).item()


def test_an_empty_batch_is_one_shard(three_streams):
    assert streams.concat_split(lambda x: x, mx.zeros((0, 2))).shape == (0, 2)


def test_shards_of_several_arrays_belong_together(three_streams):
    x = mx.arange(5)
    y = streams.concat_split(lambda a, b: a - b, x, x)
    assert not y.any().item()


def test_a_sum_over_the_batch_is_the_sum_of_its_shards(three_streams):
    x = mx.arange(10).reshape(5, 2)
    total = streams.sum_split(lambda x: x.sum(axis=0), x)
    assert total.tolist() == x.sum(axis=0).tolist()


DTYPES = [
    *(mx.float32, mx.float16, mx.bfloat16, mx.float64, mx.complex64, mx.bool_),
    *(mx.int8, mx.int16, mx.int32, mx.int64, mx.uint8, mx.uint16, mx.uint32, mx.uint64),
]


@pytest.mark.parametrize("columns", [3, 8])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_parts_are_joined_bit_for_bit(dtype, columns):
    shape, keys = (2, columns * dtype.size), mx.random.split(mx.random.key(0))
    bytes_of = [mx.random.randint(0, 256, shape, mx.uint8, key) for key in keys]
    if dtype == mx.bool_:
        bytes_of = [x % 2 for x in bytes_of]
    with mx.stream(mx.cpu):
        found = streams.concat([mx.view(x, dtype) for x in bytes_of])
        assert found.dtype == dtype
        assert mx.array_equal(mx.view(found, mx.uint8), mx.concatenate(bytes_of))


def test_joined_parts_have_derivatives_of_any_order(three_streams):
    def cubes(x):
        return streams.concat_split(lambda x: x**3, x)

    def slope(x):
        return mx.grad(lambda x: cubes(x).sum())(x)

    x = mx.arange(24.0).reshape(2, 6, 2)
    assert mx.array_equal(mx.vmap(cubes)(x), x**3)
    x = x.reshape(6, 4)
    assert mx.array_equal(mx.compile(cubes)(x), x**3)
    assert mx.allclose(mx.compile(slope)(x), 3 * x**2)
    assert mx.allclose(mx.grad(lambda x: slope(x).sum())(x), 6 * x)
    _, (tangent,) = mx.jvp(cubes, [x], [mx.ones_like(x)])
    assert mx.allclose(tangent, 3 * x**2)
    rows = mx.vmap(lambda x: slope(x[:, None] * mx.ones((1, 2))))(x)
    assert mx.allclose(rows, 3 * (x**2)[..., None])


def test_another_thread_has_streams_of_its_own(three_streams):
    results = []

    def work() -> None:
        y = streams.concat_split(lambda x: x + 1, mx.zeros((4,)))
        results.append(y.tolist())

    work()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results == [[1.0] * 4] * 2


@pytest.fixture
def fresh_count():
    """`streams.count`, forgetful: it is asked once a process."""
    for number in (streams.available, streams.count):
        number.cache_clear()
    yield streams.count
    for number in (streams.available, streams.count):
        number.cache_clear()


@pytest.mark.parametrize(("threads", "expected"), [(0, 4), (1, 4), (2, 2), (8, 1)])
def test_streams_and_threads_of_the_blas_share_the_cores(
    monkeypatch, fresh_count, threads, expected
):
    monkeypatch.setenv("LUCID_FN_STREAMS", "4")
    monkeypatch.setattr(runtime, "set_blas_threads", lambda wanted: threads)
    assert fresh_count() == expected


@pytest.mark.parametrize(("cores", "expected"), [(1, 1), (2, 2), (64, 8)])
def test_there_is_a_stream_for_each_core_up_to_eight(
    monkeypatch, fresh_count, cores, expected
):
    monkeypatch.delenv("LUCID_FN_STREAMS", raising=False)
    monkeypatch.setattr(streams.sys, "platform", "linux")
    monkeypatch.setattr(runtime, "physical_cores", lambda: cores)
    monkeypatch.setattr(runtime, "set_blas_threads", lambda wanted: wanted)
    assert fresh_count() == expected


def test_a_setting_that_is_no_number_is_an_error(monkeypatch, fresh_count):
    monkeypatch.setenv("LUCID_FN_STREAMS", "many")
    with pytest.raises(
        ValueError, match="LUCID_FN_STREAMS must be a number of streams"
    ):
        fresh_count()


def test_a_convolution_does_not_depend_on_the_number_of_streams(monkeypatch):
    x = mx.random.normal((5, 8, 8, 16), key=mx.random.key(0))
    weight = mx.random.normal((16, 3, 3, 16), key=mx.random.key(1))
    results = []
    for count in (1, 3):
        monkeypatch.setattr(streams, "count", lambda count=count: count)
        results.append(ops.conv2d(x, weight, padding=1))
    assert mx.allclose(*results, rtol=1e-4, atol=1e-4).item()
