"""Products in pieces are the products."""

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, strategies as st

from lucid_fn.cpu import small_products

SIZES = st.tuples(st.integers(1, 12_000), st.integers(1, 200), st.integers(1, 200))


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def assert_is_product(y, a, b):
    """`a @ b`, to the rounding errors of a sum, which grow with the root of its terms.

    OpenBLAS adds the 7,721 terms of a single inner product with an error of 1e-6.
    """
    a, b = a.astype(np.float64), b.astype(np.float64)
    bound = max(1e-6, 2**-24 * a.shape[1] ** 0.5)
    assert np.all(np.abs(np.asarray(y) - a @ b) <= bound * (np.abs(a) @ np.abs(b)))


@given(SIZES)
def test_a_product_in_pieces_is_the_product(sizes):
    r, k, n = sizes
    a, b = normal(r, k), normal(k, n)
    assert_is_product(small_products.by_rows(mx.array(a), mx.array(b)), a, b)


@given(SIZES)
def test_a_sum_over_rows_in_pieces_is_the_sum(sizes):
    r, k, n = sizes
    a, b = normal(r, n), normal(r, k)
    assert_is_product(small_products.over_rows(mx.array(a), mx.array(b)), a.T, b)


@pytest.mark.parametrize(
    ("rows", "each", "piece"),
    [
        (6272, 40 * 24, 896),  # LeNet-5, first convolution, half a batch
        (100, 40 * 24, 100),  # small as it is
        (10_007, 40 * 24, 10_007),  # a prime: no equal pieces
        (4096, 512 * 512, 4096),  # wide: pieces would be too short
    ],
)
def test_pieces_are_equal_and_small_or_all(rows, each, piece):
    assert small_products.piece_rows(rows, each, 32) == piece
