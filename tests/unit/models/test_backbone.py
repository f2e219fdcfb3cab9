"""Models without their heads."""

import mlx.core as mx
import pytest

from lucid_fn import models, nn, random, testing, tree


@pytest.mark.parametrize(
    ("model", "head", "shape", "features"),
    [
        (models.lenet5(), "fc3", (2, 28, 28, 1), (2, 84)),
        (models.cifar_resnet18(), "fc", (2, 32, 32, 3), (2, 512)),
    ],
)
def test_a_backbone_is_the_model_without_its_head(model, head, shape, features):
    params, state = model.init(random.key(0))
    backbone = models.backbone(model)
    expected = {name: child for name, child in params.items() if name != head}
    assert tree.equal(backbone.init(random.key(0)), (expected, state))
    y, _ = backbone.apply(expected, state, mx.zeros(shape), train=False)
    assert y.shape == features  # lazy: nothing is computed


def test_head_after_backbone_is_the_model(key):
    model = nn.serial(a=nn.linear(3, 4), act=nn.tanh, fc=nn.linear(4, 2))
    params, state = model.init(key)
    x = random.normal(key, (5, 3))
    want, _ = model.apply(params, state, x, train=False)
    features, _ = models.backbone(model).apply(
        {"a": params["a"]}, state, x, train=False
    )
    got, _ = nn.linear(4, 2).apply(params["fc"], {}, features, train=False)
    assert mx.array_equal(got, want)


def test_a_backbone_shows_its_layers():
    shown = repr(models.backbone(nn.serial(a=nn.linear(3, 4), fc=nn.linear(4, 2))))
    assert shown == "backbone(\n  a: linear(3, 4)\n  fc: identity\n)"


def test_a_layer_without_children_has_no_backbone():
    with pytest.raises(ValueError, match=r"made by nn\.serial .*, got linear"):
        models.backbone(nn.linear(3, 4))
    with pytest.raises(
        TypeError, match="backbone: layer must be a layer, got function"
    ):
        models.backbone(nn.relu)


TOKENS = mx.array([[1, 2, 3]])
SIZES = {"num_layers": 1, "num_heads": 2, "d_model": 8}


@pytest.mark.parametrize("tied", [True, False])
def test_the_features_of_a_gpt_are_those_before_its_logits(tied, key):
    model = models.gpt(20, 8, tied=tied, **SIZES)
    params, state = model.init(key)
    logits, _ = model.apply(params, state, TOKENS, train=False)
    rows = params["wte" if tied else "lm_head"]["weight"]
    inside = {name: child for name, child in params.items() if name != "lm_head"}
    features = models.backbone(model)
    assert tree.equal(features.init(key), (inside, state))
    y, _ = features.apply(inside, state, TOKENS, train=False)
    assert y.shape == (1, 3, 8)
    testing.assert_close(y @ rows.T, logits, atol=1e-5)


def test_the_features_of_a_tied_embedding_are_those_of_its_body(key):
    model = nn.tied_embedding(nn.layer_norm(4), 10, 4)
    params, state = model.init(key)
    logits, _ = model.apply(params, state, TOKENS, train=False)
    y, _ = models.backbone(model).apply(params, state, TOKENS, train=False)
    testing.assert_close(y @ params["embedding"]["weight"].T, logits, atol=1e-5)


def test_a_wrapped_model_is_told_to_be_wrapped_afterwards():
    wrapped = nn.mixed_precision(models.lenet5())
    with pytest.raises(ValueError, match=r"nn\.mixed_precision\(models\.backbone\("):
        models.backbone(wrapped)
