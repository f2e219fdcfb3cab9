"""Transformer layers: what is not a comparison with PyTorch."""

import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import nn, random, tree
from tests.strategies import equal


def encoder(**options):
    return nn.transformer_encoder_layer(8, 2, dim_feedforward=12, **options)


def test_names_are_pytorchs(key):
    torch = pytest.importorskip("torch")
    params, _ = encoder().init(key)
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 12)
    shapes = {path: leaf.shape for path, leaf in tree.named_leaves(params).items()}
    assert shapes == {n: tuple(p.shape) for n, p in theirs.named_parameters()}


def test_a_mask_hides_positions(key):
    layer = encoder()
    params, state = layer.init(key)
    x = random.normal(key, (1, 4, 8))
    mask = mx.array([True, True, False, False])
    short, _ = layer.apply(params, state, x[:, :2], train=False)
    y, _ = layer.apply(params, state, nn.EncoderInputs(x, mask), train=False)
    assert mx.allclose(y[:, :2], short, atol=1e-5)


def test_dropout_is_active_in_training_alone(key):
    layer = encoder(rate=0.5)
    params, state = layer.init(key)
    x = random.normal(key, (1, 4, 8))
    runs = [
        layer.apply(params, state, x, train=True, key=k)[0] for k in random.split(key)
    ]
    assert not mx.allclose(runs[0], runs[1])
    with pytest.raises(ValueError, match="train=True needs a key") as error:
        layer.apply(params, state, x, train=True)
    assert "in layer self_attn" in error.value.__notes__


def test_a_decoder_needs_a_memory(key):
    layer = nn.transformer_decoder_layer(8, 2, dim_feedforward=12)
    message = r"x must be nn.DecoderInputs\(x, memory\), got array"
    with pytest.raises(TypeError, match=message):
        layer.apply(*layer.init(key), mx.ones((1, 3, 8)), train=False)


def test_a_stack_of_blocks_is_a_repeat(key):
    model = nn.repeat(encoder(causal=True, rotary_base=100.0), 3)
    params, state = model.init(key)
    y, _ = model.apply(params, state, mx.ones((1, 4, 8)), train=False)
    assert y.shape == (1, 4, 8)
    assert not mx.array_equal(
        params["0"]["linear1"]["weight"], params["1"]["linear1"]["weight"]
    )


def test_stacks_have_params_of_their_own(key):
    block = nn.transformer_encoder_layer(4, 2, dim_feedforward=8)
    params, _ = nn.transformer_encoder(block, 2, norm=nn.layer_norm(4)).init(key)
    assert list(params) == ["layers", "norm"]
    first, second = (params["layers"][i]["linear1"]["weight"] for i in "01")
    assert not mx.array_equal(first, second)


def test_a_stack_without_layers_is_an_error():
    block = nn.transformer_encoder_layer(4, 2, dim_feedforward=8)
    for make in nn.transformer_encoder, nn.transformer_decoder:
        with pytest.raises(
            ValueError, match=f"{make.__name__}: num_layers must be at least 1"
        ):
            make(block, 0)


def test_a_decoder_without_memory_is_an_error(key):
    model = nn.transformer_decoder(nn.transformer_decoder_layer(4, 2), 1)
    with pytest.raises(
        TypeError, match=r"transformer_decoder: x must be nn.DecoderInputs\(x, memory\)"
    ):
        model.apply(*model.init(key), mx.ones((1, 2, 4)), train=False)


def decoder(**options):
    return nn.transformer_decoder_layer(8, 2, dim_feedforward=12, rate=0.0, **options)


@pytest.mark.parametrize("causal", [True, False])
def test_a_decoder_is_causal_unless_told_otherwise(causal, key):
    layer = decoder(causal=causal)
    params, state = layer.init(key)
    x, memory = random.normal(key, (1, 5, 8)), mx.ones((1, 3, 8))

    def first(x):
        y, _ = layer.apply(params, state, nn.DecoderInputs(x, memory), train=False)
        return mx.sum(mx.sin(y[:, :2]))

    later = mx.any(lf.grad(first)(x)[:, 2:] != 0).item()
    assert later is not causal
    assert equal(decoder().init(key), (params, state))


@pytest.mark.parametrize("make", [encoder, decoder])
def test_layers_without_biases_have_none(make, key):
    torch = pytest.importorskip("torch")
    name = "Encoder" if make is encoder else "Decoder"
    theirs = getattr(torch.nn, f"Transformer{name}Layer")(8, 2, 12, bias=False)
    params, _ = make(bias=False).init(key)
    shapes = {path: leaf.shape for path, leaf in tree.named_leaves(params).items()}
    assert shapes == {n: tuple(p.shape) for n, p in theirs.named_parameters()}


@pytest.mark.parametrize("shape", [(0, 3, 8), (2, 0, 8)])
def test_empty_batches_and_sequences_have_empty_outputs(shape, key):
    x = mx.zeros(shape)
    for layer, inputs in (
        (encoder(causal=True), x),
        (decoder(), nn.DecoderInputs(x, mx.zeros((shape[0], 4, 8)))),
        (nn.transformer_encoder(encoder(), 2, norm=nn.layer_norm(8)), x),
    ):
        y, _ = layer.apply(*layer.init(key), inputs, train=True, key=key)
        mx.eval(y)
        assert y.shape == shape


def test_a_memory_without_positions_is_allowed(key):
    x = random.normal(key, (2, 3, 8))
    layer = decoder()
    inputs = nn.DecoderInputs(x, mx.zeros((2, 0, 8)))
    y, _ = layer.apply(*layer.init(key), inputs, train=True, key=key)
    assert mx.all(mx.isfinite(y))


def through_the_cache(layer, params, state, x, wrap=lambda x: x):
    """The outputs for a prompt of three positions, then one by one."""
    outputs, starts = [], [0, 3, *range(4, x.shape[1])]
    for start, stop in zip(starts, [*starts[1:], x.shape[1]], strict=True):
        y, state = layer.apply(params, state, wrap(x[:, start:stop]), train=False)
        outputs.append(y)
    return mx.concatenate(outputs, axis=1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rotary_base", [None, 100.0])
def test_layers_with_a_cache_are_the_causal_ones(bias, rotary_base, key):
    x, memory = random.normal(key, (2, 7, 8)), random.normal(key, (2, 4, 8))
    options = {"bias": bias, "rotary_base": rotary_base}
    cached = encoder(causal=True, cache=(2, 7), **options)
    params, state = cached.init(key)
    whole, _ = encoder(causal=True, **options).apply(params, {}, x, train=False)
    y = through_the_cache(cached, params, state, x)
    assert mx.allclose(y, whole, atol=1e-5)

    cached = decoder(cache=(2, 7), **options)
    params, state = cached.init(key)
    whole, _ = decoder(**options).apply(
        params, {}, nn.DecoderInputs(x, memory), train=False
    )
    y = through_the_cache(
        cached, params, state, x, lambda x: nn.DecoderInputs(x, memory)
    )
    assert mx.allclose(y, whole, atol=1e-5)


def test_a_cache_needs_a_causal_layer_and_no_mask(key):
    for make in (encoder, decoder):
        with pytest.raises(ValueError, match="causal must be True for a layer with"):
            make(causal=False, cache=(1, 4))
        with pytest.raises(ValueError, match=r"cache must be \(batch_size, max_length"):
            make(causal=True, cache=4)
    layer = encoder(causal=True, cache=(1, 4))
    inputs = nn.EncoderInputs(mx.ones((1, 2, 8)), mx.ones((2, 2), mx.bool_))
    with pytest.raises(ValueError, match="mask must be None for a layer with a cache"):
        layer.apply(*layer.init(key), inputs, train=False)


POSITIONS = ["learned", "sinusoidal", "rotary"]


def language_model(positions, *, cache=None):
    """GPT-2, small: with a cache, it takes the next tokens."""
    cached = cache is not None
    block = nn.transformer_encoder_layer(
        8,
        2,
        dim_feedforward=16,
        rate=0.0,
        activation=nn.gelu_tanh,
        norm_first=True,
        causal=True,
        rotary_base=100.0 if positions == "rotary" else None,
        cache=cache,
    )
    at_the_bottom = {
        "learned": nn.learned_positions(9, 8, cached=cached),
        "sinusoidal": nn.positional_encoding(8, cached=cached),
        "rotary": nn.identity,
    }
    body = nn.serial(
        wpe=at_the_bottom[positions],
        h=nn.transformer_encoder(block, 2),
        ln_f=nn.layer_norm(8),
    )
    return nn.tied_embedding(body, 11, 8, weight_init=nn.initializers.normal())


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("jit", [False, True])
def test_decoding_token_by_token_is_the_full_pass(positions, jit, key):
    model = language_model(positions, cache=(2, 9))
    params, state = model.init(key)
    assert equal(language_model(positions).init(key)[0], params)
    # Positions that matter: those that are drawn are small.
    params = tree.map(lambda leaf: 3.0 * leaf, params)
    tokens = random.randint(key, (2, 9), low=0, high=11)
    expected, _ = language_model(positions).apply(params, {}, tokens, train=False)

    def step(params, state, token):
        return model.apply(params, state, token, train=False)

    step, logits = lf.jit(step) if jit else step, []
    for t in range(9):
        y, state = step(params, state, tokens[:, t : t + 1])
        logits.append(y)
    scale = mx.max(mx.abs(expected)).item()
    y = mx.concatenate(logits, axis=1)
    assert mx.allclose(y / scale, expected / scale, rtol=0, atol=1e-5)
    assert mx.all(mx.isnan(step(params, state, tokens[:, :1])[0]))  # beyond the end
