"""Copies of the functions that a body closes over, in loops and derivatives."""

import inspect

import mlx.core as mx
import pytest

from lucid_fn import losses, metrics, models, nn, ops, optim
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

    kept = closures.closure_convert(body, "scan")
    assert kept.rebuild(list(map(mx.array, kept.arrays)))() is fn


@pytest.mark.parametrize(
    "made",
    [
        nn.serial(nn.conv2d(3, 4, 3), nn.relu, nn.batch_norm(4)),
        models.lenet5(),
        models.cifar_resnet18(),
        models.gpt(10, 8, d_model=8, num_heads=2, num_layers=1),
        optim.adam(1e-3),
    ],
    ids=["serial", "lenet5", "cifar_resnet18", "gpt", "adam"],
)
def test_a_model_stays_itself_and_is_divided_among_cores_as_outside(made):
    def body():
        return made

    kept = closures.closure_convert(body, "scan")
    assert kept.rebuild(list(map(mx.array, kept.arrays)))() is made


def test_functions_that_call_each_other_are_copied_if_one_of_them_holds_an_array():
    scale = mx.array(2.0)

    def even(n):
        return scale if n == 0 else odd(n - 1)

    def odd(n):
        return even(n - 1)

    kept = closures.closure_convert(odd, "scan")
    assert kept.arrays == [scale]
    assert kept.rebuild([mx.array(5.0)])(3).item() == 5
    assert odd(3).item() == 2
