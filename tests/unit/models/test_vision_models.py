"""vit, mobilenet_v2 and unet: sizes, names, transformations and errors."""

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import models, nn, random, tree

SMALL = {"num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 24}
MODELS = {
    "vit": (
        lambda: models.vit(5, image_size=16, patch_size=8, rate=0.1, **SMALL),
        (2, 16, 16, 3),
    ),
    "mobilenet_v2": (lambda: models.mobilenet_v2(5, width=0.25), (2, 32, 32, 3)),
    "unet": (lambda: models.unet(5, width=4, depth=2), (2, 13, 16, 3)),
}
each = pytest.mark.parametrize("name", MODELS)


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("vit", {}, 86_567_656),  # torchvision's vit_b_16, ...
        ("vit", {"patch_size": 32}, 88_224_232),  # ... vit_b_32 ...
        (
            "vit",
            {"num_layers": 24, "num_heads": 16, "hidden_dim": 1024, "mlp_dim": 4096},
            304_326_632,  # ... and vit_l_16
        ),
        ("mobilenet_v2", {}, 3_504_872),
        ("unet", {}, 31_037_633),
    ],
)
def test_parameters_are_as_many_as_in_pytorch(name, options, parameters):
    model = getattr(models, name)(**options)
    params, _ = lf.eval_shape(model.init, random.key(0))
    assert sum(np.prod(x.shape) for x in tree.leaves(params)) == parameters


@pytest.mark.parametrize(
    ("name", "paths"),
    [
        (
            "vit",
            {
                "class_token": (1, 1, 16),
                "conv_proj.weight": (16, 8, 8, 3),
                "encoder.pos_embedding": (1, 5, 16),
                "encoder.layers.encoder_layer_1.self_attention.in_proj_weight": (
                    48,
                    16,
                ),
                "encoder.layers.encoder_layer_0.mlp.3.weight": (16, 24),
                "encoder.ln.bias": (16,),
                "heads.head.weight": (5, 16),
            },
        ),
        (
            "mobilenet_v2",
            {
                "features.0.0.weight": (8, 3, 3, 3),
                "features.1.conv.0.0.weight": (8, 3, 3, 1),
                "features.2.conv.3.bias": (8,),
                "features.18.0.weight": (1280, 1, 1, 80),
                "classifier.1.weight": (5, 1280),
            },
        ),
        (
            "unet",
            {
                "inc.double_conv.0.weight": (4, 3, 3, 3),
                "down2.maxpool_conv.1.double_conv.4.weight": (16,),
                "up1.up.weight": (16, 2, 2, 8),
                "up2.conv.double_conv.3.weight": (4, 3, 3, 4),
                "outc.conv.bias": (5,),
            },
        ),
    ],
)
def test_names_are_those_of_the_models_in_pytorch(name, paths):
    params, _ = MODELS[name][0]().init(random.key(0))
    found = {path: leaf.shape for path, leaf in tree.named_leaves(params).items()}
    assert {path: found.get(path) for path in paths} == paths


@each
@pytest.mark.usefixtures("unfused")
def test_models_work_compiled_and_vmapped(name, key):
    make, shape = MODELS[name]
    model = make()
    params, state = model.init(key)
    x = random.normal(key, (2, *shape))

    def logits(x):
        return model.apply(params, state, x, train=False)[0]

    expected = mx.stack([logits(part) for part in x])
    for found in (lf.vmap(logits)(x), lf.jit(lf.vmap(logits))(x)):
        assert mx.allclose(found, expected, atol=1e-5)


@each
def test_a_backbone_keeps_all_params_but_the_heads(name, key):
    model = MODELS[name][0]()
    params, _ = model.init(key)
    backbone, _ = models.backbone(model).init(key)
    assert tree.equal(backbone, {n: p for n, p in params.items() if n in backbone})
    heads = {"vit": "heads", "mobilenet_v2": "classifier", "unet": "outc"}
    assert params.keys() - backbone.keys() == {heads[name]}


def test_batch_norms_are_found_by_their_paths_in_a_mobilenet():
    model = nn.freeze_batch_norm(
        models.mobilenet_v2(5, width=0.25), lambda path: path.startswith("features.2.")
    )
    params, state = model.init(random.key(0))
    x = mx.ones((2, 32, 32, 3))
    _, new = model.apply(params, state, x, train=True, key=random.key(1))
    kept = tree.map(mx.array_equal, state, new)["features"]
    assert all(leaf.item() for leaf in tree.leaves(kept["2"]))
    assert not any(leaf.item() for leaf in tree.leaves(kept["3"]))


def test_a_vision_transformer_begins_with_equal_logits(key):
    make, shape = MODELS["vit"]
    model = make()
    logits, _ = model.apply(*model.init(key), random.normal(key, shape), train=False)
    assert mx.array_equal(logits, mx.zeros((2, 5)))


def test_sizes_that_do_not_fit_are_errors(key):
    with pytest.raises(ValueError, match=r"vit: image_size must be a multiple .* 30"):
        models.vit(image_size=30, patch_size=8)
    with pytest.raises(ValueError, match="multi_head_attention: num_heads must divide"):
        models.vit(hidden_dim=10, num_heads=3)
    vit = MODELS["vit"][0]()
    with pytest.raises(ValueError, match=r"vit: x must have shape \(N, 16, 16, 3\)"):
        vit.apply(*vit.init(key), mx.zeros((1, 32, 32, 3)), train=False)
    unet = models.unet(depth=3, width=4)
    with pytest.raises(ValueError, match="unet: x must have at least 8 rows and col"):
        unet.apply(*unet.init(key), mx.zeros((1, 4, 16, 3)), train=False)
    with pytest.raises(ValueError, match=r"mobilenet_v2: width must be in \(0, 100\]"):
        models.mobilenet_v2(width=0)


@pytest.mark.parametrize("name", ["vit", "unet"])
def test_an_input_that_is_no_batch_of_images_is_an_error_of_the_model(name, key):
    make, shape = MODELS[name]
    model = make()
    params, state = model.init(key)
    for x, kind, message in [
        (mx.zeros(shape[1:]), ValueError, r"a batch axis: x\[None\]"),
        (mx.zeros(shape).transpose(0, 3, 1, 2), ValueError, "channels are last here"),
        ([[1.0]], TypeError, "x must be an MLX array, got list"),
    ]:
        with pytest.raises(kind, match=f"^{name}: .*{message}"):
            model.apply(params, state, x, train=False)
