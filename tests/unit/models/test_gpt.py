import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import losses, models, nn, optim, random, train, tree

SIZES = {"num_layers": 2, "num_heads": 2, "d_model": 16}


@pytest.fixture(scope="module")
def tokens():
    return random.randint(random.key(1), (2, 9), low=0, high=50)


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def whole(request, tokens):
    """Options, params and the logits of whole texts."""
    options = {**SIZES, "tied": request.param}
    model = models.gpt(50, 12, **options)
    params, state = model.init(random.key(0))
    # Far from the first values, at which all logits are near 0.
    params = tree.map(lambda x: 5 * x, params)
    return options, params, model.apply(params, state, tokens, train=False)[0]


@pytest.mark.parametrize("pieces", [[1] * 9, [4, 1, 1, 3], [9]])
def test_decoding_with_a_cache_equals_the_full_pass(pieces, whole, tokens):
    options, params, logits = whole
    decoder = models.gpt(50, 12, **options, cache=(2, 10))
    _, state = decoder.init(random.key(0))
    step = lf.jit(lambda params, state, x: decoder.apply(params, state, x, train=False))
    seen, start = [], 0
    for length in pieces:
        y, state = step(params, state, tokens[:, start : start + length])
        seen.append(y)
        start += length
    assert mx.allclose(mx.concatenate(seen, axis=1), logits, rtol=0, atol=1e-5)


def test_no_logit_depends_on_later_tokens(whole, tokens):
    options, params, logits = whole
    model = models.gpt(50, 12, **options)
    others = mx.concatenate([tokens[:, :4], (tokens[:, 4:] + 1) % 50], axis=1)
    changed, _ = model.apply(params, {}, others, train=False)
    assert mx.allclose(changed[:, :4], logits[:, :4], atol=1e-5)
    assert not mx.allclose(changed[:, 4:], logits[:, 4:], atol=1e-2)


def test_the_default_is_the_smallest_gpt2():
    shapes = lf.eval_shape(lambda key: models.gpt().init(key)[0], random.key(0))
    count = sum(mx.prod(mx.array(s.shape)).item() for s in tree.leaves(shapes))
    assert count == 124_439_808


def test_names_are_those_of_gpt2():
    params, state = models.gpt(50, 12, **SIZES).init(random.key(0))
    assert set(params) == {"wte", "wpe", "h", "ln_f"} and state == {}
    assert set(params["h"]["1"]) == {"ln_1", "attn", "ln_2", "mlp"}
    assert set(params["h"]["1"]["mlp"]) == {"c_fc", "c_proj"}


def test_initial_values_are_those_of_gpt2():
    params, _ = models.gpt(400, 300, num_layers=2, num_heads=2, d_model=64).init(
        random.key(0)
    )
    leaves = tree.named_leaves(params)
    for path, leaf in leaves.items():
        if path.endswith("bias"):
            assert not mx.any(leaf), path
        elif leaf.ndim == 1:
            assert mx.all(leaf == 1), path
        else:
            ends_branch = "c_proj" in path or "out_proj" in path
            std = 0.02 / 2 if ends_branch else 0.02
            assert mx.std(leaf).item() == pytest.approx(std, rel=0.06), path
    first, second = (leaves[f"h.{i}.mlp.c_fc.weight"] for i in range(2))
    assert not mx.allclose(first, second)


def test_a_decoder_begins_with_the_params_of_the_model_it_decodes():
    plain, _ = models.gpt(50, 12, **SIZES).init(random.key(0))
    decoding, state = models.gpt(50, 12, **SIZES, cache=(1, 4)).init(random.key(0))
    assert tree.equal(plain, decoding)
    assert state["h"]["0"]["attn"]["keys"].shape == (1, 2, 5, 8)


def test_dropout_draws_while_training_only(tokens):
    model = models.gpt(50, 12, **SIZES, rate=0.5)
    params, state = model.init(random.key(0))

    def logits(train, seed):
        key = random.key(seed)
        return model.apply(params, state, tokens, train=train, key=key)[0]

    assert not mx.allclose(logits(True, 1), logits(True, 2))
    assert mx.array_equal(logits(False, 1), logits(False, 2))
    with pytest.raises(ValueError, match="needs a key"):
        model.apply(params, state, tokens, train=True)


def test_it_learns_a_text_by_heart():
    model = models.gpt(7, 12, **SIZES, rate=0.0)
    optimizer = optim.adamw(1e-2)
    step = train.make_step(model, optimizer, losses.softmax_cross_entropy)
    ts = train.init(model, optimizer, random.key(0))
    text = mx.array([[1, 5, 3, 3, 0, 6, 2, 4, 1, 1, 0, 5, 2]])
    for _ in range(60):
        ts, metrics = step(ts, text[:, :-1], text[:, 1:])
    assert metrics["loss"].item() < 0.05
    decoder = models.gpt(7, 12, **SIZES, cache=(1, 12))
    written, _ = models.generate(
        decoder,
        ts.params,
        decoder.init(random.key(0))[1],
        text[:, :3],
        max_new_tokens=10,
        temperature=0,
    )
    assert written.tolist() == text.tolist()


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"vocab_size": 0}, ValueError, "gpt: vocab_size must be at least 1, got 0"),
        ({"num_layers": 1.5}, TypeError, "gpt: num_layers must be an integer"),
        ({"num_heads": 3}, ValueError, "num_heads must divide embed_dim, got 3"),
        ({"rate": 1.0}, ValueError, r"gpt: rate must be in \[0, 1\), got 1"),
        ({"activation": "gelu"}, TypeError, "gpt: activation must be a function"),
        ({"cache": 8}, ValueError, r"cache must be \(batch_size, max_length\), got 8"),
        ({"cache": (0, 8)}, ValueError, "cache's batch_size must be at least 1"),
        ({"cache": (1, 13)}, ValueError, "max_length must be at most the model's, 12"),
    ],
)
def test_wrong_arguments_are_errors(options, kind, message):
    with pytest.raises(kind, match=message):
        models.gpt(**{"vocab_size": 50, "max_length": 12, **SIZES, **options})


def test_too_many_tokens_and_floats_are_errors(tokens):
    model = models.gpt(50, 8, **SIZES)
    params, state = model.init(random.key(0))
    with pytest.raises(ValueError, match=r"with L at most 8, got \(2, 9, 16\)"):
        model.apply(params, state, tokens, train=False)
    with pytest.raises(TypeError, match="gpt: tokens must be integers"):
        model.apply(params, state, tokens.astype(mx.float32), train=False)
    with pytest.raises(ValueError, match=r"\(N, L\), .* a batch axis: tokens\[None\]"):
        model.apply(params, state, tokens[0], train=False)


def test_the_gradient_reaches_all_params(tokens):
    model = models.gpt(50, 12, **SIZES)
    params, state = model.init(random.key(0))

    @lf.jit
    def grads(params):
        def loss(params):
            logits, _ = model.apply(
                params, state, tokens[:, :-1], train=True, key=random.key(2)
            )
            return losses.cross_entropy(logits, tokens[:, 1:])

        return lf.grad(loss)(params)

    for path, grad in tree.named_leaves(grads(params)).items():
        if not path.endswith("in_proj_bias"):  # that of the keys has none
            assert mx.any(grad), path


def test_a_block_is_a_pre_norm_transformer_layer(tokens):
    """The same numbers as the layer of `nn` with these params."""
    params, _ = models.gpt(50, 12, **SIZES).init(random.key(0))
    params = tree.map(lambda x: 3 * x, params)
    block = nn.transformer_encoder_layer(
        16,
        2,
        dim_feedforward=64,
        activation=nn.gelu_tanh,
        norm_first=True,
        causal=True,
    )
    x = params["wte"]["weight"][tokens] + params["wpe"]["weight"][:9]
    for i in ("0", "1"):
        h = params["h"][i]
        names = {"norm1": h["ln_1"], "self_attn": h["attn"], "norm2": h["ln_2"]}
        names |= {"linear1": h["mlp"]["c_fc"], "linear2": h["mlp"]["c_proj"]}
        x, _ = block.apply(names, {}, x, train=False)
    x, _ = nn.layer_norm(16).apply(params["ln_f"], {}, x, train=False)
    logits, _ = models.gpt(50, 12, **SIZES).apply(params, {}, tokens, train=False)
    assert mx.allclose(logits, x @ params["wte"]["weight"].T, atol=1e-5)
