"""Attention: what is not a comparison with PyTorch."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import nn, ops, random


def heads(key, length, count=2, size=4):
    return random.normal(random.fold_in(key, length), (3, length, count, size))


def by_hand(query, key, value, kept):
    """The equation, in float64."""
    q, k, v = (np.array(x, np.float64).swapaxes(1, 2) for x in (query, key, value))
    scores = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1])
    weights = np.where(kept, np.exp(scores - scores.max(-1, keepdims=True)), 0)
    weights /= weights.sum(-1, keepdims=True)
    return (weights @ v).swapaxes(1, 2)


@pytest.mark.parametrize(("length", "size"), [(5, 5), (3, 7), (1, 4)])
def test_causal_lets_the_last_query_see_all_keys(key, length, size):
    query, memory = heads(key, length), heads(key, size)
    y = nn.dot_product_attention(query, memory, memory, causal=True)
    kept = np.tril(np.ones((length, size)), size - length)
    np.testing.assert_allclose(y, by_hand(query, memory, memory, kept), atol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_the_fused_kernel_does_the_same(key, causal, masked):
    query, memory = heads(key, 5, 4), heads(key, 7, 2)
    mask = random.bernoulli(key, 0.7, (3, 4, 5, 7)) | (mx.arange(7) < 1)
    options = {"mask": mask if masked else None, "causal": causal, "scale": 0.3}
    y = nn.dot_product_attention(query, memory, memory, **options)
    with ops.plain():
        fused = nn.dot_product_attention(query, memory, memory, **options)
    assert mx.allclose(y, fused, atol=1e-6)


def test_causal_and_a_mask_hold_together(key):
    x = heads(key, 6)
    mask = random.bernoulli(key, 0.5, (3, 1, 6, 6)) | (mx.eye(6) > 0)
    y = nn.dot_product_attention(x, x, x, mask=mask, causal=True)
    kept = np.array(mask) & np.tril(np.ones((6, 6), bool))
    np.testing.assert_allclose(y, by_hand(x, x, x, kept), atol=1e-5)
    added = mx.where(mask, 0.0, -1e9)
    y = nn.dot_product_attention(x, x, x, mask=added, causal=True)
    np.testing.assert_allclose(y, by_hand(x, x, x, kept), atol=1e-5)


def test_heads_of_keys_serve_neighbouring_heads_of_queries(key):
    query, memory = heads(key, 5, 4), heads(key, 7, 2)
    y = nn.dot_product_attention(query, memory, memory)
    repeated = mx.repeat(memory, 2, axis=2)
    whole = nn.dot_product_attention(query, repeated, repeated)
    assert mx.allclose(y, whole, atol=1e-6)


def test_the_order_of_the_keys_does_not_matter(key):
    query, memory = heads(key, 3), heads(key, 6)
    order = mx.array([3, 1, 5, 0, 2, 4])
    y = nn.dot_product_attention(query, memory, memory)
    shuffled = nn.dot_product_attention(query, memory[:, order], memory[:, order])
    assert mx.allclose(y, shuffled, atol=1e-6)


@pytest.mark.parametrize("name", ["query", "key", "value"])
def test_heads_of_another_shape_are_an_error(name, key):
    arrays = {name: heads(key, 5) for name in ("query", "key", "value")}
    arrays[name] = mx.ones((3, 5, 8))
    with pytest.raises(ValueError, match=rf"{name} must have shape \("):
        nn.dot_product_attention(**arrays)


def test_heads_that_do_not_divide_are_an_error(key):
    with pytest.raises(ValueError, match="with H a divisor of 4, got"):
        nn.dot_product_attention(heads(key, 5, 4), heads(key, 5, 3), heads(key, 5, 3))


def test_more_queries_than_keys_cannot_be_causal(key):
    with pytest.raises(ValueError, match="a key for each query, got 5 queries and 3"):
        nn.dot_product_attention(
            heads(key, 5), heads(key, 3), heads(key, 3), causal=True
        )


def test_a_mask_of_another_shape_is_an_error(key):
    x = heads(key, 5)
    message = r"mask must broadcast to \(N, H, L, S\) = \(3, 2, 5, 5\), got \(3, 5\)"
    with pytest.raises(ValueError, match=message):
        nn.dot_product_attention(x, x, x, mask=mx.ones((3, 5), mx.bool_))


def test_a_mask_of_integers_is_an_error(key):
    x = heads(key, 5)
    with pytest.raises(
        TypeError, match=r"mask must be of dtype bool .* mask.astype\(mx.bool_\)"
    ):
        nn.dot_product_attention(x, x, x, mask=mx.ones((5, 5), mx.int32))


def test_a_bool_mask_of_three_axes_is_refused(key):
    x = heads(key, 5)  # as many heads as examples: both readings would fit
    with pytest.raises(ValueError, match=r"write mask\[:, None\] for \(N, L, S\)"):
        nn.dot_product_attention(x, x, x, mask=mx.ones((2, 5, 5), mx.bool_))


def test_a_mask_that_does_not_fit_says_how_one_of_the_keys_does(key):
    x = heads(key, 5)
    with pytest.raises(ValueError, match=r"\(N, S\) is mask\[:, None, None\]"):
        nn.dot_product_attention(x, x, x, mask=mx.ones((2, 5), mx.bool_))
