"""What loops and derivatives make anew of the functions that a body closes over."""

import inspect

import pytest

from lucid_fn import losses, metrics, nn, ops
from lucid_fn.transforms import closures

FUNCTIONS = [
    getattr(package, name)
    for package in (ops, nn, losses, metrics)
    for name in package.__all__
    if inspect.isfunction(getattr(package, name))
]


@pytest.mark.parametrize(
    "fn", FUNCTIONS, ids=lambda fn: f"{fn.__module__}.{fn.__name__}"
)
def test_a_function_of_the_library_stays_itself(fn):
    def body():
        return fn

    kept = closures.close(body)
    assert kept.filled(kept.arrays)() is fn
