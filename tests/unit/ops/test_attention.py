"""Attention: what is not a comparison with PyTorch."""

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
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


@pytest.mark.parametrize("axis", [0, 2])
def test_a_mask_alone_is_mapped(key, axis):
    x, masks = heads(key, 5), mx.arange(50).reshape(2, 5, 5) % 3 > 0

    def attend(mask):
        return nn.dot_product_attention(x, x, x, mask=mask, causal=True)

    found = lf.vmap(attend, axis)(mx.moveaxis(masks, 0, axis))
    assert mx.allclose(found, mx.stack([attend(mask) for mask in masks]), atol=1e-6)


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


def test_weights_are_those_of_the_sum(key):
    query, memory = heads(key, 5, 4), heads(key, 7, 2)
    options = {"causal": True, "scale": 0.3}
    weights = nn.dot_product_attention_weights(query, memory, **options)
    assert mx.allclose(weights.sum(axis=-1), mx.array(1.0), atol=1e-6)
    y = nn.dot_product_attention(query, memory, memory, **options)
    repeated = mx.repeat(memory, 2, axis=2)
    assert mx.allclose(mx.einsum("nhls,nshd->nlhd", weights, repeated), y, atol=1e-6)


# Masks for 2 examples of 2 heads, 3 queries and 4 keys, that leave some queries no key.
EMPTY_ROWS = {
    "an example": mx.array([True, False])[:, None, None, None],
    "a query": (mx.arange(3) != 1)[:, None],
    "all": mx.array(False),
    "minus infinity": mx.where(mx.arange(3) != 1, 0.0, -mx.inf)[:, None],
    "with causal": mx.arange(4) > 2,
    "a float with causal": mx.where(mx.arange(4) > 2, 0.5, -mx.inf),
}


@pytest.mark.parametrize("formulation", ["tuned", "plain"])
@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
@pytest.mark.parametrize("name", EMPTY_ROWS)
def test_a_query_without_a_key_gives_zero_and_no_gradient(
    name, dtype, formulation, key, monkeypatch
):
    monkeypatch.setenv("LUCID_FN_OPS", formulation)
    q, k, v, g = (
        random.normal(k, (2, length, 2, 4)).astype(dtype)
        for k, length in zip(random.split(key, 4), (3, 4, 4, 3), strict=True)
    )
    mask = EMPTY_ROWS[name]
    causal = "causal" in name
    seen = np.array(mask) > -np.inf if mask.dtype == mx.float32 else np.array(mask)
    seen = seen & (np.tril(np.ones((3, 4), bool), 1) if causal else True)
    some = np.broadcast_to(seen, (2, 2, 3, 4)).any(-1).swapaxes(1, 2)[..., None]

    def loss(q, k, v):
        y = nn.dot_product_attention(q, k, v, mask=mask, causal=causal)
        return mx.sum(y * g), y

    (_, y), grads = lf.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(q, k, v)
    assert y.dtype == dtype
    assert not np.any(np.where(some, 0, np.array(y.astype(mx.float32))))
    assert not np.any(np.where(some, 0, np.array(grads[0].astype(mx.float32))))
    assert all(mx.all(mx.isfinite(grad)) for grad in (y, *grads))
    weights = nn.dot_product_attention_weights(q, k, mask=mask, causal=causal)
    sums = weights.astype(mx.float32).sum(axis=-1).swapaxes(1, 2)
    np.testing.assert_allclose(np.array(sums)[..., None], some, atol=1e-2)


@pytest.mark.parametrize("formulation", ["tuned", "plain"])
def test_float16_does_not_overflow_where_float32_does_not(
    formulation, key, monkeypatch
):
    monkeypatch.setenv("LUCID_FN_OPS", formulation)
    x = (300 + heads(key, 5, size=64)).astype(mx.float16)
    mask = mx.where(mx.arange(5) < 3, 0.0, -1e9)  # not a number of float16

    def loss(x):
        y = nn.dot_product_attention(x, x, x, mask=mask)
        return mx.sum(y.astype(mx.float32)), y

    (_, y), grads = lf.value_and_grad(loss, has_aux=True)(x)
    (_, exact), _ = lf.value_and_grad(loss, has_aux=True)(x.astype(mx.float32))
    assert y.dtype == mx.float16
    assert mx.allclose(y, exact, rtol=1e-3)
    assert mx.all(mx.isfinite(grads))


@pytest.mark.parametrize("formulation", ["tuned", "plain"])
@pytest.mark.parametrize(
    ("n", "length", "keys"), [(0, 3, 4), (2, 0, 4), (2, 3, 0), (2, 0, 0)]
)
@pytest.mark.parametrize("causal", [False, True])
def test_nothing_to_attend_from_or_to(
    n, length, keys, causal, formulation, monkeypatch
):
    monkeypatch.setenv("LUCID_FN_OPS", formulation)
    if causal and length > keys:
        keys = length
    q, k, v = (
        mx.ones((n, length, 4, 8)),
        mx.ones((n, keys, 2, 8)),
        mx.ones((n, keys, 2, 5)),
    )

    def loss(q, k, v):
        y = nn.dot_product_attention(q, k, v, causal=causal)
        return mx.sum(y), y

    (_, y), grads = lf.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(q, k, v)
    mx.eval(y, grads)
    assert y.shape == (n, length, 4, 5)
    assert [g.shape for g in grads] == [q.shape, k.shape, v.shape]
    weights = nn.dot_product_attention_weights(q, k, causal=causal)
    assert weights.shape == (n, 4, length, keys)


def test_the_result_has_the_promoted_dtype(key):
    x = heads(key, 5)
    half = x.astype(mx.bfloat16)
    assert nn.dot_product_attention(half, x, x).dtype == mx.float32
    assert nn.dot_product_attention(half, half, x).dtype == mx.float32
    mask = mx.zeros((5, 5))  # a float mask has no say
    assert nn.dot_product_attention(half, half, half, mask=mask).dtype == mx.bfloat16


@pytest.mark.parametrize("name", ["query", "key", "value"])
def test_integers_are_an_error(name, key):
    arrays = {name: heads(key, 5) for name in ("query", "key", "value")}
    arrays[name] = mx.ones((3, 5, 2, 4), mx.int32)
    message = rf"dot_product_attention: {name} must be of a float dtype, got .*astype"
    with pytest.raises(TypeError, match=message):
        nn.dot_product_attention(**arrays)


def test_a_scale_is_a_number_or_an_array(key):
    x = heads(key, 5)
    with pytest.raises(TypeError, match=r"scale must be a number .*, got '2'"):
        nn.dot_product_attention(x, x, x, scale="2")
    y = nn.dot_product_attention(x, x, x, scale=mx.array(0.5))
    assert mx.allclose(y, nn.dot_product_attention(x, x, x, scale=0.5), atol=1e-6)


def test_errors_of_the_weights_have_their_name(key):
    with pytest.raises(ValueError, match=r"^dot_product_attention_weights: key must"):
        nn.dot_product_attention_weights(heads(key, 5, 4), heads(key, 5, 3))
