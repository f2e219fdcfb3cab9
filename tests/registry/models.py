"""Every model, with a small input: `init, apply = make()`, `x, = inputs(rng)`."""

from functools import partial

from lucid_fn import models
from tests.registry.case import Case
from tests.registry.layers import integers, normal

SMALL_IMAGES = normal(2, 32, 32, 3)

SIZES = {"num_layers": 2, "num_heads": 2, "d_model": 8, "dim_feedforward": 16}

NO_CASES = {"generate": "runs a model, see test_generate"}
"""Public functions that make no model, and why."""

MODELS = [
    Case("lenet5", models.lenet5, normal(2, 28, 28, 1)),
    Case("resnet18", models.resnet18, SMALL_IMAGES),
    Case("resnet34", models.resnet34, SMALL_IMAGES),
    Case("resnet50", models.resnet50, SMALL_IMAGES),
    Case("cifar_resnet18", models.cifar_resnet18, SMALL_IMAGES),
    Case("gpt", partial(models.gpt, 9, 8, **SIZES), integers(9, 3, 5)),
    Case(
        "gpt-untied", partial(models.gpt, 9, 8, **SIZES, tied=False), integers(9, 3, 5)
    ),
    Case("bert", partial(models.bert, 9, 8, **SIZES), integers(9, 3, 5)),
]
