import mlx.core as mx
import pytest

import lucid_fn as lf
from lucid_fn import models, nn, random, tree

SIZES = {"num_layers": 2, "num_heads": 2, "d_model": 16, "dim_feedforward": 24}
TOKENS = mx.array([[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]])


@pytest.fixture(scope="module")
def bert():
    model = models.bert(20, 8, **SIZES)
    params, state = model.init(random.key(0))
    return model, tree.map(lambda x: 3 * x, params), state


def test_the_default_is_bert_base():
    shapes = lf.eval_shape(lambda key: models.bert().init(key)[0], random.key(0))
    count = sum(mx.prod(mx.array(s.shape)).item() for s in tree.leaves(shapes))
    assert count == 109_482_240


def test_tokens_alone_are_of_type_0_and_all_are_attended_to(bert):
    plain, _ = bert[0].apply(*bert[1:], TOKENS, train=False)
    zeros, ones = mx.zeros_like(TOKENS), mx.ones_like(TOKENS)
    y, _ = bert[0].apply(*bert[1:], models.BertInputs(TOKENS, zeros, ones), train=False)
    assert mx.allclose(plain.sequence, y.sequence, atol=1e-6)
    other, _ = bert[0].apply(*bert[1:], models.BertInputs(TOKENS, ones), train=False)
    assert not mx.allclose(plain.sequence, other.sequence, atol=1e-2)


def test_padding_changes_nothing(bert):
    short, _ = bert[0].apply(*bert[1:], TOKENS[:, :3], train=False)
    inputs = models.BertInputs(TOKENS, mask=mx.broadcast_to(mx.arange(5) < 3, (2, 5)))
    padded, _ = bert[0].apply(*bert[1:], inputs, train=False)
    assert mx.allclose(padded.sequence[:, :3], short.sequence, atol=1e-5)
    assert mx.allclose(padded.pooled, short.pooled, atol=1e-5)


def test_without_a_pooler_there_is_nothing_pooled(bert):
    _, params, state = bert
    model = models.bert(20, 8, **SIZES, pooler=False)
    rest = {name: child for name, child in params.items() if name != "pooler"}
    y, _ = model.apply(rest, state, TOKENS, train=False)
    assert y.pooled is None and "pooler" not in model.init(random.key(0))[0]


def test_it_is_compiled_and_differentiated_with_a_head(bert):
    model, params, state = bert
    head, _ = nn.linear(16, 2).init(random.key(1))

    @lf.jit
    @lf.grad
    def slope(params, key):
        y, _ = model.apply(params, state, TOKENS, train=True, key=key)
        logits, _ = nn.linear(16, 2).apply(head, {}, y.pooled, train=True)
        return mx.sum(mx.sin(logits))

    grads = tree.named_leaves(slope(params, random.key(2)))
    assert all(mx.all(mx.isfinite(grad)) for grad in grads.values())
    assert mx.any(grads["word_embeddings.weight"])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (TOKENS[0], r"tokens must have shape \(N, L\), got \(5,\)"),
        (
            models.BertInputs(TOKENS, TOKENS[:, :2]),
            "token_types must have the shape of",
        ),
        (models.BertInputs(TOKENS, mask=TOKENS[:1]), "mask must have the shape of"),
    ],
)
def test_shapes_that_do_not_fit_are_errors(inputs, message, bert):
    with pytest.raises(ValueError, match=f"bert: {message}"):
        bert[0].apply(*bert[1:], inputs, train=False)
    with pytest.raises(TypeError, match="bert: tokens must be"):
        bert[0].apply(*bert[1:], [[1, 2]], train=False)
    inputs = models.BertInputs(TOKENS, mask=[[1] * 5])
    with pytest.raises(TypeError, match="bert: mask must be an MLX array, got list"):
        bert[0].apply(*bert[1:], inputs, train=False)
