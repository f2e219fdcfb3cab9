"""One rule for every number: each parameter of a public function that holds one.

What is not a number gets an error that names the function and the parameter, and a
NumPy scalar is the number that it holds.
"""

import inspect
import re
import types
import typing
from functools import partial

import mlx.core as mx
import numpy as np
import pytest

import lucid_fn as lf
from lucid_fn import models, nn, optim, random, schedules
from tests.registry import arguments, ranges
from tests.strategies import equal


def members(annotation):
    """The types of a union."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


def parameters():
    """Each parameter that may be a number, with its function and package."""
    for package in arguments.PACKAGES:
        for name in arguments.functions(package):
            signature = inspect.signature(getattr(package, name))
            for parameter in signature.parameters.values():
                is_named = parameter.kind not in (
                    parameter.VAR_POSITIONAL,
                    parameter.VAR_KEYWORD,
                )
                if is_named and {int, float} & set(members(parameter.annotation)):
                    short = package.__name__.rpartition(".")[2]
                    yield pytest.param(
                        package, name, parameter, id=f"{short}.{name}-{parameter.name}"
                    )


NUMBERS = list(parameters())
each_number = pytest.mark.parametrize(("package", "name", "parameter"), NUMBERS)


def call(package, name, **changed):
    args, kwargs = arguments.of(package, name, changed)
    return getattr(package, name)(*args, **kwargs)


def named(name, parameter):
    """The start of an error; `random.key` and `key` are both names of a function."""
    return rf"^(random\.|train\.)?{name}: {parameter.name} must "


def test_numbers_are_found_in_every_package():
    found = {param.values[0] for param in NUMBERS}
    assert found == set(arguments.PACKAGES)


@each_number
def test_what_is_not_a_number_is_refused_by_name(package, name, parameter):
    kinds = members(parameter.annotation)
    wrong = [True, 1j, {}, [object()], np.array(["x"])]
    wrong += [] if str in kinds else ["x"]
    wrong += [] if type(None) in kinds else [None]
    wrong += [] if float in kinds else [2.0]
    for value in wrong:
        with pytest.raises((TypeError, ValueError)) as raised:
            call(package, name, **{parameter.name: value})
        assert re.match(named(name, parameter), str(raised.value)), value


@each_number
def test_numbers_that_do_not_fit_are_refused_by_name(package, name, parameter):
    arrays = [np.ones(2), mx.ones(2), mx.array([True, False])]
    for value in [*arrays, float("nan"), float("inf"), -1, 0, 10**30]:
        try:
            call(package, name, **{parameter.name: value})
        except (TypeError, ValueError) as error:
            assert re.match(rf"^(random\.|train\.)?{name}: ", str(error)), (
                value,
                error,
            )


@each_number
def test_a_number_outside_of_its_range_is_told_the_range(package, name, parameter):
    range_ = ranges.of(package, name, parameter.name)
    for value in ranges.outside(range_):
        with pytest.raises(ValueError) as raised:
            call(package, name, **{parameter.name: value})
        start = rf"{named(name, parameter)}be {re.escape(range_)}"
        assert re.match(rf"{start}.*, got {value}\b", str(raised.value)), value


@pytest.mark.parametrize(
    ("package", "name", "parameter"),
    [param for param in NUMBERS if param.values[0] in (optim, schedules)],
)
def test_optimizers_and_schedules_refuse_what_is_not_finite(package, name, parameter):
    for value in (float("nan"), float("inf")):
        with pytest.raises((TypeError, ValueError), match=named(name, parameter)):
            call(package, name, **{parameter.name: value})


def outcome(package, result):
    """What can be compared of a result, functions being made anew each time."""
    if isinstance(result, nn.Layer):
        # Models are large, and hand their numbers to layers.
        init = partial(lf.eval_shape, result.init) if package is models else result.init
        return init(random.key(0))
    is_array = isinstance(result, mx.array | np.ndarray)
    return mx.array(result) if is_array else ()


@each_number
def test_a_numpy_scalar_is_the_number(package, name, parameter):
    value = arguments.values(package, name).get(parameter.name)
    kinds = {int: (np.int32, np.uint8, np.array), float: (np.float32, np.float64)}
    for kind in kinds.get(type(value), ()):
        if kind is np.uint8 and not 0 <= value < 256:
            continue
        scalar = kind(value)
        expected = call(package, name, **{parameter.name: scalar.item()})
        found = call(package, name, **{parameter.name: scalar})
        assert equal(outcome(package, found), outcome(package, expected))
