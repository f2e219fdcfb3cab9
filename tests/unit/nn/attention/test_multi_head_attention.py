"""Multi-head attention and its cache: what is not a comparison with PyTorch."""

from pathlib import Path

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import nn, random, tree

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


@pytest.mark.parametrize("formulation", ["tuned", "plain"])
@pytest.mark.parametrize("causal", [False, True])
def test_one_masked_example_does_not_spoil_the_gradients(
    causal, formulation, x, key, monkeypatch
):
    monkeypatch.setenv("LUCID_FN_OPS", formulation)
    layer = nn.multi_head_attention(8, 2, causal=causal)
    params, _ = layer.init(key)
    mask = mx.array([True, False])[:, None, None, None]

    def loss(params, x, mask):
        y, _ = layer.apply(params, {}, nn.AttentionInputs(x, x, x, mask), train=True)
        return mx.sum(mx.sin(y[:1])), y

    run = lf.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    (_, y), (grads, x_grad) = run(params, x, mask)
    _, (alone, _) = run(params, x[:1], mask[:1])
    assert mx.allclose(y[1], params["out_proj"]["bias"])  # the heads are zeros
    assert not mx.any(x_grad[1])
    for a, b in zip(tree.leaves(grads), tree.leaves(alone), strict=True):
        assert mx.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.4])
@pytest.mark.parametrize("shape", [(0, 3, 8), (2, 0, 8)])
def test_empty_batches_and_sequences_have_empty_outputs(rate, shape, key):
    layer = nn.multi_head_attention(8, 2, causal=True, rate=rate, rotary_base=100.0)
    params, _ = layer.init(key)

    def loss(params, x):
        y, _ = layer.apply(params, {}, x, train=True, key=key)
        return mx.sum(y), y

    run = lf.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    (_, y), grads = run(params, mx.zeros(shape))
    mx.eval(y, grads)
    assert y.shape == shape
    assert not any(mx.any(leaf) for leaf in tree.leaves(grads))


def test_an_empty_memory_gives_the_bias_of_the_output(x, key):
    layer = nn.multi_head_attention(8, 2)
    params = tree.map(mx.ones_like, layer.init(key)[0])
    memory = mx.zeros((2, 0, 8))
    y, _ = layer.apply(params, {}, nn.AttentionInputs(x, memory, memory), train=True)
    assert mx.array_equal(y, mx.ones((2, 7, 8)))


def test_the_weights_come_with_the_output(x, key):
    layer = nn.multi_head_attention(8, 2, causal=True, return_weights=True)
    params, _ = layer.init(key)
    (y, weights), _ = layer.apply(params, {}, x, train=False)
    plain, _ = nn.multi_head_attention(8, 2, causal=True).apply(
        params, {}, x, train=False
    )
    assert mx.allclose(y, plain, atol=1e-6)
    assert weights.shape == (2, 2, 7, 7)
    assert mx.allclose(weights.sum(axis=-1), mx.ones((2, 2, 7)), atol=1e-6)
    assert not mx.any(mx.triu(weights, 1))


def test_the_weights_are_those_after_dropout(x, key):
    layer = nn.multi_head_attention(8, 2, rate=0.5, return_weights=True)
    (_, weights), _ = layer.apply(*layer.init(key), x, train=True, key=key)
    dropped = mx.mean((weights == 0).astype(mx.float32)).item()
    assert dropped == pytest.approx(0.5, abs=0.15)


@pytest.mark.parametrize(
    "dtypes", [(mx.bfloat16, mx.float32), (mx.float32, mx.float16)]
)
def test_the_output_has_the_promoted_dtype(dtypes, x, key):
    for layer in (
        nn.multi_head_attention(8, 2, rotary_base=100.0),
        nn.cached_attention(8, 2, batch_size=2, max_length=9, rotary_base=100.0),
    ):
        params, state = layer.init(key)
        params = tree.cast(params, dtypes[1])
        y, _ = layer.apply(params, state, x.astype(dtypes[0]), train=False)
        assert y.dtype == mx.float32


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("rotary_base", [None, 100.0])
def test_positions_beyond_the_cache_are_nan_and_write_nothing(jit, rotary_base, x, key):
    layer = nn.cached_attention(
        8, 2, batch_size=2, max_length=4, rotary_base=rotary_base
    )
    params, state = layer.init(key)

    def run(params, state, x):
        return layer.apply(params, state, x, train=False)

    step = lf.jit(run) if jit else run
    _, state = step(params, state, x[:, :3])
    y, full = step(params, state, x[:, 3:6])  # of which one fits
    assert full["length"].item() == 6
    expected, filled = step(params, state, x[:, 3:4])
    assert mx.allclose(y[:, :1], expected, atol=1e-6)
    assert mx.all(mx.isnan(y[:, 1:]))
    for _ in range(40):
        y, full = step(params, full, x[:, 6:7])
        assert mx.all(mx.isnan(y))
    assert mx.array_equal(full["keys"], filled["keys"])
    assert mx.array_equal(full["values"], filled["values"])


def test_only_the_cache_is_written_at_a_place_that_mlx_does_not_check():
    files = list(Path(lf.__file__).parent.rglob("*.py"))
    unchecked = ("mx.slice_update(", "mx.slice(")  # with an array as start
    found = [f.name for f in files if any(name in f.read_text() for name in unchecked)]
    assert found == ["cached_attention.py"]  # which clips: see the tests around


@pytest.mark.parametrize("length", [-1, -(2**31), 2**31 - 1, 10**6])
def test_a_length_that_is_none_gives_nan(length, x, key):
    layer = nn.cached_attention(8, 2, batch_size=2, max_length=4)
    params, state = layer.init(key)
    state["length"] = mx.array(length)
    y, moved = layer.apply(params, state, x[:, :1], train=False)
    assert mx.all(mx.isnan(y))
    assert not mx.any(moved["keys"])


def test_the_cache_has_gradients(x, key):
    """A prompt's keys get gradients through the cache, as in the whole sequence."""
    whole = nn.multi_head_attention(8, 2, causal=True)
    cached = nn.cached_attention(8, 2, batch_size=2, max_length=9)
    params, state = cached.init(key)

    def pieces(x):
        first, moved = cached.apply(params, state, x[:, :3], train=True)
        second, _ = cached.apply(params, moved, x[:, 3:], train=True)
        return mx.sum(mx.sin(first)) + mx.sum(mx.sin(second))

    def at_once(x):
        return mx.sum(mx.sin(whole.apply(params, {}, x, train=True)[0]))

    assert mx.allclose(lf.grad(pieces)(x), lf.grad(at_once)(x), atol=1e-5)


def test_the_cache_takes_no_mask(x, key):
    layer = nn.cached_attention(8, 2, batch_size=2, max_length=9)
    with pytest.raises(TypeError, match="cached_attention: x must be an array"):
        layer.apply(*layer.init(key), nn.AttentionInputs(x, x, x), train=False)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: nn.multi_head_attention(6, 4),
            "num_heads must divide embed_dim, got 4",
        ),
        (lambda: nn.multi_head_attention(8, 0), "num_heads must be at least 1, got 0"),
        (lambda: nn.multi_head_attention(8, 2, kdim=0), "kdim must be at least 1"),
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


def test_each_projection_of_its_own_width_is_xavier_uniform(key):
    layer = nn.multi_head_attention(64, 4, kdim=192, vdim=16)
    params, _ = layer.init(key)
    for letter, width in (("q", 64), ("k", 192), ("v", 16)):
        weight = params[f"{letter}_proj_weight"]
        assert weight.shape == (64, width)
        bound = (6 / (64 + width)) ** 0.5
        assert 0.95 * bound < mx.max(mx.abs(weight)).item() <= bound
    assert params["in_proj_bias"].shape == (192,)


def test_an_array_does_not_attend_to_itself_with_another_width(x, key):
    layer = nn.multi_head_attention(8, 2, kdim=6)
    with pytest.raises(ValueError, match=r"AttentionInputs.*of 8, 6, 8 features, got"):
        layer.apply(*layer.init(key), x, train=False)


def test_keys_and_values_of_another_length_are_named(x, key):
    layer = nn.multi_head_attention(8, 2)
    params, _ = layer.init(key)
    for wrong, message in (
        (nn.AttentionInputs(x, x[:1], x[:1]), r"key must have shape \(2, S, 8\), got"),
        (nn.AttentionInputs(x, x, x[:, 1:]), r"value must have shape \(2, 7, 8\), got"),
    ):
        with pytest.raises(ValueError, match=f"multi_head_attention: {message}"):
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


def test_a_tuple_is_told_to_be_attention_inputs(key):
    attention = nn.multi_head_attention(4, 2)
    held, x = attention.init(key), mx.ones((1, 3, 4))
    with pytest.raises(TypeError, match=r"got 3 in a tuple; write nn\.AttentionInputs"):
        attention.apply(*held, (x, x, x), train=False)
