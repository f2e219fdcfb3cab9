"""The table of the CPU wing."""

import inspect

import pytest

from lucid_fn.cpu.wing import FORMULATIONS


@pytest.mark.parametrize("plain", FORMULATIONS, ids=lambda plain: plain.__name__)
def test_a_formulation_takes_the_arguments_of_the_one_that_it_replaces(plain):
    found = inspect.signature(FORMULATIONS[plain]).parameters
    assert list(found) == list(inspect.signature(plain).parameters)


def test_what_is_replaced_can_be():
    """Another function as a key would never be looked up."""
    for plain in FORMULATIONS:
        assert plain.__wrapped__ is not plain, plain
