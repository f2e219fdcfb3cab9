"""The mapping of names; numbers are compared in tests/parity."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import interop, models, random, tree

GPT2 = {"vocab_size": 20, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2}
BERT = {
    "vocab_size": 20,
    "max_position_embeddings": 8,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
}
load_gpt2 = interop.huggingface.gpt2_from_state_dict
load_bert = interop.huggingface.bert_from_state_dict


def arrays(shapes, dtype=np.float32):
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=s).astype(dtype) for name, s in shapes.items()}


def gpt2_weights():
    block = {
        "ln_1.weight": 8,
        "ln_1.bias": 8,
        "attn.c_attn.weight": (8, 24),
        "attn.c_attn.bias": 24,
        "attn.c_proj.weight": (8, 8),
        "attn.c_proj.bias": 8,
        "ln_2.weight": 8,
        "ln_2.bias": 8,
        "mlp.c_fc.weight": (8, 32),
        "mlp.c_fc.bias": 32,
        "mlp.c_proj.weight": (32, 8),
        "mlp.c_proj.bias": 8,
    }
    top = {
        "wte.weight": (20, 8),
        "wpe.weight": (8, 8),
        "ln_f.weight": 8,
        "ln_f.bias": 8,
    }
    return arrays(top | {f"h.0.{name}": shape for name, shape in block.items()})


def bert_weights():
    block = {
        f"attention.self.{part}.{kind}": (8, 8) if kind == "weight" else 8
        for part in ("query", "key", "value")
        for kind in ("weight", "bias")
    }
    for name, shape in (
        ("attention.output.dense", (8, 8)),
        ("intermediate.dense", (12, 8)),
        ("output.dense", (8, 12)),
    ):
        block |= {f"{name}.weight": shape, f"{name}.bias": shape[0]}
    for name in ("attention.output.LayerNorm", "output.LayerNorm"):
        block |= {f"{name}.gamma": 8, f"{name}.beta": 8}
    rows = {"word": 20, "position": 8, "token_type": 2}
    top = {f"embeddings.{name}_embeddings.weight": (n, 8) for name, n in rows.items()}
    top |= {"embeddings.LayerNorm.gamma": 8, "embeddings.LayerNorm.beta": 8}
    top |= {f"encoder.layer.0.{name}": shape for name, shape in block.items()}
    return arrays({f"bert.{name}": shape for name, shape in top.items()})


def test_weights_of_a_conv1d_are_transposed():
    weights = gpt2_weights()
    _, params, state = load_gpt2(weights, GPT2)
    attn = params["h"]["0"]["attn"]
    assert np.array_equal(attn["in_proj_weight"], weights["h.0.attn.c_attn.weight"].T)
    assert attn["out_proj"]["bias"].shape == (8,) and state == {}


def test_buffers_prefixes_and_a_tied_head_are_left_out():
    weights = gpt2_weights()
    _, params, _ = load_gpt2(weights, GPT2)
    named = {f"transformer.{name}": value for name, value in weights.items()}
    named["transformer.h.0.attn.bias"] = np.ones((1, 1, 8, 8), bool)
    named["transformer.h.0.attn.masked_bias"] = np.array(-1e4)
    named["lm_head.weight"] = weights["wte.weight"]
    assert tree.equal(load_gpt2(named, GPT2)[1], params)


def test_a_decoder_has_the_params_and_an_empty_cache():
    model, params, state = load_gpt2(gpt2_weights(), GPT2, cache=(1, 6))
    tokens, _ = models.generate(
        model, params, state, mx.array([[1]]), max_new_tokens=5, key=random.key(0)
    )
    assert tokens.shape == (1, 6)


def test_half_precision_stays_half_precision():
    weights = {name: a.astype(np.float16) for name, a in gpt2_weights().items()}
    params = load_gpt2(weights, GPT2)[1]
    assert {leaf.dtype for leaf in tree.leaves(params)} == {mx.float16}


def test_old_names_of_bert_and_heads_are_known():
    weights = bert_weights()
    weights["cls.predictions.bias"] = np.zeros(20)
    weights["classifier.weight"] = np.zeros((2, 8))
    weights["bert.embeddings.position_ids"] = np.arange(8)[None]
    model, params, state = load_bert(weights, BERT)
    name = "bert.encoder.layer.0.attention.self.value.weight"
    in_proj = params["layers"]["0"]["self_attn"]["in_proj_weight"]
    assert np.array_equal(in_proj[16:], weights[name])
    gamma = weights["bert.encoder.layer.0.output.LayerNorm.gamma"]
    assert np.array_equal(params["layers"]["0"]["norm2"]["weight"], gamma)
    y, _ = model.apply(params, state, mx.array([[1, 2]]), train=False)
    assert y.sequence.shape == (1, 2, 8) and y.pooled is None


def test_what_does_not_fit_is_listed():
    weights = gpt2_weights()
    weights["h.0.mlp.c_fc.weight"] = weights["h.0.mlp.c_fc.weight"].T
    weights["h.1.ln_1.weight"] = weights.pop("ln_f.weight")
    with pytest.raises(
        ValueError, match=r"^gpt2_from_state_dict: the arrays do not f"
    ) as e:
        load_gpt2(weights, GPT2)
    for part in (
        "missing: ln_f.weight",
        "unexpected: h.1.ln_1.weight",
        "c_fc.weight: m",
    ):
        assert part in str(e.value)
    with pytest.raises(ValueError, match="fit the model; is the config that of these"):
        load_gpt2(gpt2_weights(), {**GPT2, "vocab_size": 21})
    weights = bert_weights()
    del weights["bert.encoder.layer.0.attention.self.key.bias"]
    with pytest.raises(
        ValueError, match=r"^bert_from_state_dict: state_dict must hold"
    ):
        load_bert(weights, BERT)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"activation_function": "swish2"}, "must be one of gelu, .*, got 'swish2'"),
        ({"scale_attn_by_inverse_layer_idx": True}, "idx'. must be False, got True"),
        (
            {"attn_pdrop": 0.0},
            "must have a single dropout rate, got .*; set all to",
        ),
        ({"n_embd": 9}, "num_heads must divide embed_dim"),
    ],
)
def test_what_gpt2_does_not_do_is_an_error(changed, message):
    with pytest.raises(ValueError, match=message):
        load_gpt2(gpt2_weights(), {**GPT2, **changed})


def test_other_kinds_of_bert_are_errors():
    with pytest.raises(ValueError, match="encoder with absolute positions, got 'relat"):
        load_bert(bert_weights(), {**BERT, "position_embedding_type": "relative_key"})
    with pytest.raises(ValueError, match="is_decoder=True"):
        load_bert(bert_weights(), {**BERT, "is_decoder": True})


@pytest.mark.parametrize("load", [load_gpt2, load_bert])
def test_a_model_or_a_config_object_is_an_error(load):
    with pytest.raises(
        TypeError, match=r"state_dict must be a mapping, .*state_dict\(\)"
    ):
        load("model.safetensors", {})
    with pytest.raises(TypeError, match=r"config must be a mapping, .*to_dict\(\)"):
        load({}, object())
