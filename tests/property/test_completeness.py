"""Every public function has a case in a registry, or a reason for none."""

import inspect

import pytest

from lucid_fn import ops
from tests.registry.activations import ACTIVATIONS
from tests.registry.packages import REGISTRIES

each_package = pytest.mark.parametrize("package", REGISTRIES, ids=lambda p: p.__name__)


def functions(package):
    return {n for n in package.__all__ if inspect.isfunction(getattr(package, n))}


@each_package
def test_every_public_function_has_a_case_or_a_reason_for_none(package):
    cases, reasons = REGISTRIES[package]
    names = {case.function for case in cases}
    assert names | reasons.keys() == functions(package)
    assert not names & reasons.keys()
    assert all(reasons.values())


@each_package
def test_no_two_cases_have_one_name(package):
    names = [case.name for case in REGISTRIES[package].cases]
    assert len(set(names)) == len(names)


@each_package
def test_the_ranges_of_a_case_are_of_parameters_of_its_function(package):
    for case in REGISTRIES[package].cases:
        signature = inspect.signature(getattr(package, case.function))
        assert case.ranges.keys() <= signature.parameters.keys()


def test_every_activation_of_ops_is_an_activation_of_nn_and_registered():
    public = (getattr(ops, name) for name in ops.__all__)
    module = "lucid_fn.ops.activations"
    defined = {f for f in public if getattr(f, "__module__", "") == module}
    assert defined - {ops.prelu} <= {*ACTIVATIONS}  # which nn has as a layer
