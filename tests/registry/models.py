"""Every model, with a small input: `init, apply = make()`, `x, = inputs(rng)`."""

from functools import partial

from lucid_fn import models
from tests.registry.case import Case
from tests.registry.layer_case import integers, normal

# Laws that a model may be exempt from.
DEAD = "every parameter has a gradient"  # but where initial weights are zero
LARGE = "copies are equal"  # made of what smaller models of the same file are made of

SMALL_IMAGES = normal(2, 32, 32, 3)

SIZES = {"num_layers": 2, "num_heads": 2, "d_model": 8, "dim_feedforward": 16}

NO_CASES = {
    "backbone": "changes a model, see test_backbone",
    "generate": "runs a model, see test_generate",
}
"""Public functions that make no model, and why."""

VIT = {
    "image_size": 32,
    "patch_size": 8,
    "num_layers": 2,
    "num_heads": 2,
    "hidden_dim": 16,
    "mlp_dim": 24,
}

MODELS = [
    Case("lenet5", models.lenet5, normal(2, 28, 28, 1)),
    Case("resnet18", models.resnet18, SMALL_IMAGES),
    Case("resnet34", models.resnet34, SMALL_IMAGES, frozenset([LARGE])),
    Case("resnet50", models.resnet50, SMALL_IMAGES),
    Case("cifar_resnet18", models.cifar_resnet18, SMALL_IMAGES, frozenset([LARGE])),
    Case("gpt", partial(models.gpt, 9, 8, **SIZES), integers(9, 3, 5)),
    Case(
        "gpt-untied", partial(models.gpt, 9, 8, **SIZES, tied=False), integers(9, 3, 5)
    ),
    Case("bert", partial(models.bert, 9, 8, **SIZES), integers(9, 3, 5)),
    Case(
        "mobilenet_v2", partial(models.mobilenet_v2, width=0.25), normal(2, 64, 64, 3)
    ),
    Case("vit", partial(models.vit, **VIT), SMALL_IMAGES, frozenset([DEAD])),
    Case(
        "unet",
        partial(models.unet, 3, width=4, depth=2),
        SMALL_IMAGES,
        ranges={"width": "at least 1"},
    ),
]
