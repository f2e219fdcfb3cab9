"""Every public function has a case in a registry, or a reason for none."""

import inspect

import pytest

from lucid_fn import data, losses, metrics, models, nn, optim, schedules
from tests.registry import (
    data as augmentations,
    layers,
    losses as loss_registry,
    metrics as metric_registry,
    models as model_registry,
    optimizers,
    schedules as schedule_registry,
)

REGISTRIES = {
    data: (augmentations.AUGMENTATIONS, augmentations.NO_CASES),
    losses: (loss_registry.LOSSES, {}),
    metrics: (metric_registry.METRICS, metric_registry.NO_CASES),
    models: (model_registry.MODELS, model_registry.NO_CASES),
    nn: (layers.LAYERS, layers.NO_CASES),
    optim: (optimizers.OPTIMIZERS + optimizers.PARTS, optimizers.NO_CASES),
    schedules: (schedule_registry.SCHEDULES, schedule_registry.NO_CASES),
}


def public(case):
    """The public function that a case is of: the first word of its name."""
    return case.name.split(" ")[0].split("-")[0].strip(",")


def functions(package):
    return {n for n in package.__all__ if inspect.isfunction(getattr(package, n))}


@pytest.mark.parametrize("package", REGISTRIES, ids=lambda p: p.__name__)
def test_every_public_function_has_a_case_or_a_reason_for_none(package):
    cases, reasons = REGISTRIES[package]
    names = {public(case) for case in cases}
    assert names | reasons.keys() == functions(package)
    assert not names & reasons.keys()
    assert all(reasons.values())


@pytest.mark.parametrize("package", REGISTRIES, ids=lambda p: p.__name__)
def test_no_two_cases_have_one_name(package):
    names = [case.name for case in REGISTRIES[package][0]]
    assert len(set(names)) == len(names)
