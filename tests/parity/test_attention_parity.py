"""Scaled dot-product attention and attention weights against PyTorch's."""

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import nn

torch = pytest.importorskip("torch")
from tests.parity.layouts import (  # noqa: E402  # needs torch
    assert_close,
    params_of,
    to_mlx,
)

N, L, S, H, D = 2, 3, 5, 4, 6


def masks(rng):
    """By name; some leave queries without a key."""
    kept = rng.random((N, 1, L, S)) < 0.5
    kept[0, 0, 1] = False
    return {
        "none": None,
        "bool": kept,
        "of an example": np.array([True, False])[:, None, None, None],
        "float": rng.normal(size=(N, H, L, S)).astype(np.float32),
        "minus infinity": np.where(kept, 0.5, -np.inf).astype(np.float32),
        # Not whole rows: the gradient of PyTorch's fused kernel is that of sums there,
        # as it stores their logarithm, and -1e9 + log(5) is -1e9 in float32.
        "large": np.where(kept | (np.arange(S) == 2), 0.5, -1e9).astype(np.float32),
    }


MASKS = masks(np.random.default_rng(0))


@pytest.mark.parametrize("formulation", ["tuned", "plain"])
@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_dot_product_attention(name, scale, formulation, monkeypatch):
    monkeypatch.setenv("LUCID_FN_OPS", formulation)
    mask, rng = MASKS[name], np.random.default_rng(1)
    q, k, v, g = (
        rng.normal(size=(N, length, H, D)).astype(np.float32) for length in (L, S, S, L)
    )
    q = scale * q
    theirs = [torch.tensor(a, requires_grad=True) for a in (q, k, v)]
    their_y = torch.nn.functional.scaled_dot_product_attention(
        *(a.transpose(1, 2) for a in theirs),
        attn_mask=None if mask is None else torch.tensor(mask),
    ).transpose(1, 2)
    their_y.backward(torch.tensor(g))

    def loss(q, k, v):
        given = None if mask is None else mx.array(mask)
        y = nn.dot_product_attention(q, k, v, mask=given)
        return mx.sum(y * mx.array(g)), y

    run = lf.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    (_, y), grads = run(*map(mx.array, (q, k, v)))
    assert_close(y, to_mlx(their_y, moved=False))
    for ours, array in zip(grads, theirs, strict=True):
        assert_close(ours, to_mlx(array.grad, moved=False))


@pytest.mark.parametrize("causal", [False, True])
def test_weights_of_multi_head_attention(causal):
    x = np.random.default_rng(0).normal(size=(N, L, 8)).astype(np.float32)
    module = torch.nn.MultiheadAttention(8, 2, batch_first=True)
    layer = nn.multi_head_attention(8, 2, causal=causal, return_weights=True)
    mask = torch.nn.Transformer.generate_square_subsequent_mask(L) if causal else None
    t = torch.tensor(x)
    their_y, their_weights = module(t, t, t, attn_mask=mask, average_attn_weights=False)
    (y, weights), _ = layer.apply(
        params_of(module, moved=False), {}, mx.array(x), train=False
    )
    assert_close(y, to_mlx(their_y, moved=False))
    assert_close(weights, to_mlx(their_weights, moved=False))
