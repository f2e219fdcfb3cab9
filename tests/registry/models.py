"""Every model, with a small input: `init, apply = make()`, `x, = inputs(rng)`."""

from lucid_fn import models
from tests.registry.case import Case
from tests.registry.layers import normal

SMALL_IMAGES = normal(2, 32, 32, 3)

NO_CASES: dict[str, str] = {}
"""Public functions that make no model, and why."""

MODELS = [
    Case("lenet5", models.lenet5, normal(2, 28, 28, 1)),
    Case("resnet18", models.resnet18, SMALL_IMAGES),
    Case("resnet34", models.resnet34, SMALL_IMAGES),
    Case("resnet50", models.resnet50, SMALL_IMAGES),
    Case("cifar_resnet18", models.cifar_resnet18, SMALL_IMAGES),
]
