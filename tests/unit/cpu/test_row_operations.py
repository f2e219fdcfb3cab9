"""Operations on rows: divided among streams, and summed by the BLAS."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import ops
from lucid_fn.cpu import runtime
from lucid_fn.cpu.memory import broadcast, row_reductions
from lucid_fn.cpu.parallel import streams
from lucid_fn.ops import seam

LABELS = mx.array([0, 299, 5, 5, 17])
ROWS = {
    "layer_norm": lambda x: ops.layer_norm(x, x[0] + 1, x[1], eps=1e-5),
    "rms_norm": lambda x: ops.rms_norm(x, x[0] + 1, eps=1e-5),
    "softmax": ops.softmax,
    "log_softmax": ops.log_softmax,
    "logsumexp": ops.logsumexp,
    "cross_entropy": lambda x: ops.softmax_cross_entropy(x, LABELS),
}
rows = pytest.mark.parametrize("fn", ROWS.values(), ids=ROWS)


@pytest.fixture
def x():
    return mx.random.normal((5, 300), key=mx.random.key(0))


@pytest.mark.tuned("divides rows among streams")
@rows
@pytest.mark.parametrize("wrap", [lambda fn: fn, mx.compile], ids=["eager", "jit"])
def test_rows_on_three_streams_are_those_on_one(monkeypatch, x, fn, wrap):
    def value_and_grad(x):
        return fn(x), mx.grad(lambda x: mx.sum(mx.sin(fn(x))))(x)

    whole = value_and_grad(x)
    monkeypatch.setattr(streams, "_LARGE", 0)
    monkeypatch.setattr(streams, "count", lambda: 3)
    for found, expected in zip(wrap(value_and_grad)(x), whole, strict=True):
        assert mx.allclose(found, expected, rtol=1e-6, atol=1e-6).item()


@pytest.fixture(params=["packs", "does not pack"])
def small_products(request, monkeypatch):
    packs = request.param == "packs"
    monkeypatch.setattr(runtime, "packs_small_products", lambda: packs)
    row_reductions._run_of_product.cache_clear()
    yield
    row_reductions._run_of_product.cache_clear()


@pytest.mark.parametrize("columns", [1, 31, 32, 96, 192, 1000, 1021, 2**15, 50257])
def test_sums_of_rows_are_exact(small_products, columns):
    """Of equal numbers, whose rounding errors add up, and of numbers far from 0."""
    noise = mx.random.normal((4, columns), key=mx.random.key(columns))
    for x in (mx.full((4, columns), 0.1), 1 + 0.01 * noise):
        exact = np.array(x).astype(np.float64)
        weight = mx.linspace(0.5, 1, columns)
        total, dot = row_reductions.row_sum(x), row_reductions.row_dot(x, weight)
        squares = row_reductions.row_squares(x)
        assert np.allclose(total, exact.sum(1, keepdims=True), rtol=2e-6)
        expected = exact @ np.array(weight)[:, None].astype(np.float64)
        assert np.allclose(dot, expected, rtol=2e-6)
        assert np.allclose(squares, (exact**2).sum(1, keepdims=True), rtol=2e-6)


@pytest.mark.tuned("takes rows in runs")
@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("wrap", [lambda fn: fn, mx.compile], ids=["eager", "jit"])
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_norms_of_large_arrays_are_those_of_small_ones(monkeypatch, name, wrap, part):
    x = mx.random.normal((6, 96), key=mx.random.key(0)) + 3

    def value_and_grad(x):
        fn = ROWS[name]
        return fn(x), mx.grad(lambda x: mx.sum(mx.sin(fn(x))))(x)

    small = value_and_grad(x)
    monkeypatch.setattr(broadcast, "_LARGE", 0)
    with seam.computing_part(part):
        large = wrap(value_and_grad)(x)
    for found, expected in zip(large, small, strict=True):
        assert mx.allclose(found, expected, rtol=1e-5, atol=1e-5).item()


@pytest.mark.tuned("divides rows among streams")
def test_the_first_part_of_rows_is_half_as_large(monkeypatch):
    """Its stream computes what is around, too."""
    monkeypatch.setattr(streams, "_LARGE", 0)
    monkeypatch.setattr(streams, "count", lambda: 3)
    parts = streams.map_large(len, mx.zeros((400, 1)))
    assert parts == [80, 160, 160]
