"""The registries by the packages whose public functions they hold."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lucid_fn import data, losses, metrics, models, nn, optim, schedules, train
from tests.registry import (
    data as augmentations,
    layers,
    losses as loss_registry,
    metrics as metric_registry,
    models as model_registry,
    optimizers,
    schedules as schedule_registry,
    train as train_registry,
)
from tests.registry.case import Case


class Registry(NamedTuple):
    """The cases of a package, and why its other functions have none."""

    cases: Sequence[Case]
    reasons: Mapping[str, str]


REGISTRIES = {
    data: Registry(augmentations.AUGMENTATIONS, augmentations.NO_CASES),
    losses: Registry(loss_registry.LOSSES, {}),
    metrics: Registry(metric_registry.METRICS, metric_registry.NO_CASES),
    models: Registry(model_registry.MODELS, model_registry.NO_CASES),
    nn: Registry(layers.LAYERS, layers.NO_CASES),
    optim: Registry(optimizers.OPTIMIZERS + optimizers.PARTS, optimizers.NO_CASES),
    schedules: Registry(schedule_registry.SCHEDULES, schedule_registry.NO_CASES),
    train: Registry(
        train_registry.STEPS + train_registry.CALLBACKS, train_registry.NO_CASES
    ),
}
