"""Causal attention in blocks of queries is attention in one."""

import mlx.core as mx
import pytest

from lucid_fn import ops
from lucid_fn.cpu import attention


@pytest.fixture
def small_blocks(monkeypatch):
    for name, value in {"_BLOCK": 2, "_MAX_BLOCKS": 3, "_MIN_WEIGHTS": 0}.items():
        monkeypatch.setattr(attention, name, value)


@pytest.mark.tuned("divides the queries")
@pytest.mark.parametrize(("length", "keys"), [(3, 3), (4, 4), (7, 7), (9, 12)])
def test_blocks_see_the_keys_up_to_their_last_query(small_blocks, length, keys):
    shapes = (2, length, 4, 3), (2, keys, 2, 3), (2, keys, 2, 5), (2, length, 4, 5)
    *arrays, g = (
        mx.random.normal(shape, key=mx.random.key(i)) for i, shape in enumerate(shapes)
    )

    def attend(query, key, value):
        return ops.dot_product_attention(query, key, value, causal=True)

    def slope(*arrays):
        return mx.grad(lambda *a: mx.sum(attend(*a) * g), (0, 1, 2))(*arrays)

    found = attend(*arrays), *mx.compile(slope)(*arrays)
    with ops.plain():
        expected = attend(*arrays), *slope(*arrays)
    for array, other in zip(found, expected, strict=True):
        assert mx.allclose(array, other, rtol=1e-5, atol=1e-6).item()


@pytest.mark.tuned("divides the queries")
def test_blocks_are_mapped_over(small_blocks):
    x = mx.random.normal((3, 2, 6, 2, 4), key=mx.random.key(0))

    def slope(x):
        def attend(x):
            return ops.dot_product_attention(x, x, x, causal=True)

        return mx.grad(lambda x: mx.sum(mx.sin(attend(x))))(x)

    found, expected = mx.vmap(slope)(x), mx.stack([slope(row) for row in x])
    assert mx.allclose(found, expected, rtol=1e-5, atol=1e-6).item()
