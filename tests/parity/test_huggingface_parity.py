"""GPT-2 and BERT with random weights of `transformers`, number by number."""

import mlx.core as mx
import numpy as np
import pytest

from lucid_fn import interop, models

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

GPT2_SIZES = {
    "vocab_size": 61,
    "n_positions": 32,
    "n_embd": 24,
    "n_layer": 3,
    "n_head": 4,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
BERT_SIZES = {
    "vocab_size": 61,
    "max_position_embeddings": 32,
    "hidden_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 40,
}


def randomized(module, seed):
    """The module in eval mode, with weights and biases far from their first values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, param in module.named_parameters():
            noise = torch.randn(param.shape, generator=generator)
            is_scale = param.ndim == 1 and name.endswith("weight")
            param.copy_(0.2 * noise + (1 if is_scale else 0))
    return module.eval()


def gpt2(kind="GPT2LMHeadModel", **options):
    config = transformers.GPT2Config(**{**GPT2_SIZES, **options})
    return randomized(getattr(transformers, kind)(config), 0)


def bert(kind="BertModel", **options):
    config = transformers.BertConfig(**{**BERT_SIZES, **options})
    return randomized(getattr(transformers, kind)(config), 1)


TOKENS = np.random.default_rng(0).integers(0, 61, (2, 17))


def close(ours, theirs):
    np.testing.assert_allclose(np.array(ours), theirs.detach().numpy(), atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tie_word_embeddings": False},
        {"activation_function": "relu", "n_inner": 40, "layer_norm_epsilon": 1e-3},
    ],
)
def test_gpt2_has_the_logits_of_transformers(options):
    theirs = gpt2(**options)
    model, params, state = interop.huggingface.gpt2_from_state_dict(
        theirs.state_dict(), theirs.config.to_dict()
    )
    logits, _ = model.apply(params, state, mx.array(TOKENS), train=False)
    close(logits, theirs(torch.tensor(TOKENS)).logits)


def test_the_model_without_a_head_has_other_names_and_the_same_weights():
    theirs = gpt2("GPT2Model")
    model, params, state = interop.huggingface.gpt2_from_state_dict(
        theirs.state_dict(), theirs.config.to_dict()
    )
    logits, _ = model.apply(params, state, mx.array(TOKENS), train=False)
    hidden = theirs(torch.tensor(TOKENS)).last_hidden_state
    close(logits, hidden @ theirs.wte.weight.T)


def test_gpt2_from_files_of_transformers_continues_a_text_as_it_does(tmp_path):
    theirs = gpt2()
    theirs.save_pretrained(tmp_path)
    model, params, state = interop.huggingface.gpt2_from_state_dict(
        interop.torch.load_safetensors(tmp_path / "model.safetensors"),
        theirs.config.to_dict(),
        cache=(2, 32),
    )
    tokens, _ = models.generate(
        model,
        params,
        state,
        mx.array(TOKENS[:, :5]),
        max_new_tokens=20,
        temperature=0,
    )
    expected = theirs.generate(
        torch.tensor(TOKENS[:, :5]),
        max_new_tokens=20,
        do_sample=False,
        eos_token_id=None,
        pad_token_id=0,
    )
    np.testing.assert_array_equal(np.array(tokens), expected.numpy())


@pytest.mark.parametrize(
    "options", [{}, {"hidden_act": "relu", "layer_norm_eps": 1e-3}]
)
def test_bert_has_the_features_of_transformers(options):
    theirs = bert(**options)
    model, params, state = interop.huggingface.bert_from_state_dict(
        theirs.state_dict(), theirs.config.to_dict()
    )
    rng = np.random.default_rng(1)
    types = rng.integers(0, 2, TOKENS.shape)
    mask = np.arange(17) < np.array([[17], [9]])
    inputs = models.BertInputs(*map(mx.array, (TOKENS, types, mask)))
    y, _ = model.apply(params, state, inputs, train=False)
    expected = theirs(
        torch.tensor(TOKENS),
        token_type_ids=torch.tensor(types),
        attention_mask=torch.tensor(mask.astype(np.int64)),
    )
    close(y.sequence, expected.last_hidden_state)
    close(y.pooled, expected.pooler_output)


def test_a_bert_inside_of_another_model_is_found_without_a_pooler():
    theirs = bert("BertForMaskedLM")
    model, params, state = interop.huggingface.bert_from_state_dict(
        theirs.state_dict(), theirs.config.to_dict()
    )
    y, _ = model.apply(params, state, mx.array(TOKENS), train=False)
    assert y.pooled is None
    close(y.sequence, theirs.bert(torch.tensor(TOKENS)).last_hidden_state)
