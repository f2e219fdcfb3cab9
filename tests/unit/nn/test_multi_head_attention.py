"""Multi-head attention and its cache: what is not a comparison with PyTorch."""

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import nn, random

OPTIONS = [{}, {"rotary_base": 100.0}, {"bias": False}]


@pytest.fixture
def x(key):
    return random.normal(key, (2, 7, 8))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("pieces", [[7], [1] * 7, [3, 1, 3]])
def test_pieces_through_the_cache_are_the_whole_sequence(x, key, options, pieces):
    whole = nn.multi_head_attention(8, 2, causal=True, **options)
    cached = nn.cached_attention(8, 2, batch_size=2, max_length=9, **options)
    params, _ = whole.init(key)
    expected, _ = whole.apply(params, {}, x, train=False)
    _, state = cached.init(key)
    outputs, start = [], 0
    for size in pieces:
        piece = x[:, start : start + size]
        y, state = cached.apply(params, state, piece, train=False)
        outputs.append(y)
        start += size
    assert mx.allclose(mx.concatenate(outputs, axis=1), expected, atol=1e-5)
    assert state["length"].item() == 7


def test_the_cache_has_the_params_of_the_layer(key):
    whole, cached = (
        nn.multi_head_attention(8, 2),
        nn.cached_attention(8, 2, batch_size=1, max_length=4),
    )
    assert mx.array_equal(
        whole.init(key)[0]["in_proj_weight"], cached.init(key)[0]["in_proj_weight"]
    )


def test_one_compilation_serves_all_positions(x, key):
    cached = nn.cached_attention(8, 2, batch_size=2, max_length=9)
    params, state = cached.init(key)

    @lf.jit
    def step(params, state, x):
        return cached.apply(params, state, x, train=False)

    for position in range(7):
        y, state = step(params, state, x[:, position : position + 1])
    eager = nn.multi_head_attention(8, 2, causal=True)
    expected, _ = eager.apply(params, {}, x, train=False)
    assert mx.allclose(y[:, 0], expected[:, -1], atol=1e-5)


def test_causal_attention_does_not_see_what_comes(x, key):
    layer = nn.multi_head_attention(8, 2, causal=True)
    params, _ = layer.init(key)

    def first(x):
        return mx.sum(layer.apply(params, {}, x, train=False)[0][:, :3])

    grads = lf.grad(first)(x)
    assert mx.all(grads[:, 3:] == 0) and mx.any(grads[:, :3] != 0)


def test_separate_projections_are_the_joint_one(x, key):
    layer = nn.multi_head_attention(8, 2)
    params, _ = layer.init(key)
    joint, _ = layer.apply(params, {}, x, train=False)
    apart = nn.AttentionInputs(x, x + 0.0, x + 0.0)
    assert mx.allclose(layer.apply(params, {}, apart, train=False)[0], joint, atol=1e-5)


def test_dropout_keeps_the_mean(key):
    """The weights that remain are scaled, so that the mean over many keys is eval's."""
    layer = nn.multi_head_attention(4, 1, rate=0.3)
    params, _ = layer.init(key)
    x = random.normal(key, (1, 5, 4))
    expected, _ = layer.apply(params, {}, x, train=False)

    def apply(key):
        return layer.apply(params, {}, x, train=True, key=key)[0]

    mean = mx.mean(mx.stack([apply(k) for k in random.split(key, 2000)]), axis=0)
    assert mx.allclose(mean, expected, atol=0.05)
    assert not mx.allclose(apply(key), expected, atol=0.05)


def test_dropout_respects_the_causal_mask(key):
    layer = nn.multi_head_attention(4, 1, rate=0.3, causal=True)
    params, _ = layer.init(key)
    x = random.normal(key, (1, 5, 4))
    y, _ = layer.apply(params, {}, x, train=True, key=key)
    changed, _ = layer.apply(params, {}, x.at[:, 4].add(9.0), train=True, key=key)
    assert mx.array_equal(y[:, :4], changed[:, :4])


def test_dropout_adds_a_float_mask(key):
    layer = nn.multi_head_attention(4, 1, rate=0.3)
    params, _ = layer.init(key)
    x = random.normal(key, (1, 5, 4))
    kept = mx.arange(5) < 3
    results = [
        layer.apply(params, {}, nn.AttentionInputs(x, x, x, mask), train=True, key=key)
        for mask in (kept, mx.where(kept, 0.0, -1e9))
    ]
    assert mx.allclose(results[0][0], results[1][0], atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.multi_head_attention(6, 4),
            "num_heads must divide embed_dim, got 4",
        ),
        (lambda: nn.multi_head_attention(8, 0), "num_heads must be at least 1, got 0"),
        (lambda: nn.multi_head_attention(8, 2, rate=1.0), r"rate must be in \[0, 1\)"),
        (
            lambda: nn.cached_attention(8, 2, batch_size=0, max_length=4),
            "cached_attention: batch_size must be at least 1, got 0",
        ),
    ],
)
def test_arguments_out_of_range_are_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_inputs_of_another_shape_are_named(x, key):
    layer = nn.multi_head_attention(8, 2)
    params, _ = layer.init(key)
    wrong = nn.AttentionInputs(x, mx.ones((2, 3, 4)), x)
    with pytest.raises(ValueError, match=r"key must have shape \(N, L, 8\), got"):
        layer.apply(params, {}, wrong, train=False)


def test_dropout_without_a_key_is_an_error(x, key):
    layer = nn.multi_head_attention(8, 2, rate=0.1)
    with pytest.raises(
        ValueError, match="multi_head_attention: train=True needs a key"
    ):
        layer.apply(*layer.init(key), x, train=True)


def test_missing_params_are_named(x):
    with pytest.raises(
        ValueError, match="params must hold 'in_proj_weight', got nothing"
    ):
        nn.multi_head_attention(8, 2).apply({}, {}, x, train=False)


@pytest.mark.parametrize("shape", [(3, 1, 8), (2, 10, 8)])
def test_what_does_not_fit_into_the_cache_is_an_error(shape, key):
    layer = nn.cached_attention(8, 2, batch_size=2, max_length=9)
    with pytest.raises(ValueError, match=r"shape \(2, L, 8\) with L at most 9, got"):
        layer.apply(*layer.init(key), mx.ones(shape), train=False)
